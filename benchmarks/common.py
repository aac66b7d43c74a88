"""What the benchmarks share: options, the machine's name, and where results are kept."""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "docs" / "pictures"


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--device", default="cpu")
    made.add_argument("--dtype", default=None, choices=["float32", "float16", "bfloat16"])
    made.add_argument("--threads", type=int, default=None)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--name", default=None, help="of the files that are written")
    return made


def prepare(options: argparse.Namespace, benchmark: str) -> torch.dtype:
    """Fill in what was not given and set the threads; returns the dtype."""
    options.dtype = options.dtype or ("float16" if options.device == "cuda" else "float32")
    options.name = options.name or f"{benchmark}-{options.device}"
    if options.threads:
        torch.set_num_threads(options.threads)
    dtype: torch.dtype = getattr(torch, options.dtype)
    return dtype


def machine(options: argparse.Namespace) -> str:
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
    else:
        name = platform.processor() or platform.machine()
        info = Path("/proc/cpuinfo")
        if info.exists():
            found = re.search(r"model name\s*:\s*(.+)", info.read_text())
            name = found.group(1) if found else name
        name += f", {torch.get_num_threads()} threads"
    return f"{name}, torch {torch.__version__}, {options.dtype}"


def command() -> str:
    """As it would be typed in the repository's root."""
    script = Path(sys.argv[0]).resolve().relative_to(ROOT)
    words = [f'"{word}"' if " " in word else word for word in sys.argv[1:]]
    return " ".join(["python", str(script), *words])


def merge(
    name: str, title: str, part: str, record: dict[str, Any], order: list[str] | None
) -> dict[str, dict[str, Any]]:
    """Keep one part's record beside those of earlier calls on the same machine; returns all of them."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    parts: dict[str, dict[str, Any]] = {}
    if path.exists():
        earlier = json.loads(path.read_text())
        if earlier["machine"] == title:
            parts = earlier["parts"]
    parts[part] = {"command": command(), **record}
    if order:
        parts = {key: parts[key] for key in sorted(parts, key=order.index)}
    path.write_text(json.dumps({"machine": title, "parts": parts}, indent=1, ensure_ascii=False) + "\n")
    return parts


def write(name: str, text: str) -> None:
    (RESULTS / f"{name}.md").write_text(text + "\n")


def save(figure: Any, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / f"{name}.png", dpi=130)
