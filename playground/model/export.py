"""Puts the playground's models into a real webui: `export.py --to WEBUI/models/Stable-diffusion`.

Copies each checkpoint and its .yaml, and writes the folder that the .yaml files name for the text
model, which is the same in all: its config.json and the CLIP tokenizer (built here, see
tokenizer.py).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.model import tokenizer
from playground.model.checkpoint import NAME, text_config


def export(folder: Path, source: Path = Path(__file__).parent) -> list[Path]:
    """Writes everything into `folder` (made where missing) and returns what was written.

    Raises FileNotFoundError where `source` holds no checkpoint of the playground's, or one without
    its .yaml.
    """
    checkpoints = sorted(source.glob(f"{NAME}*.safetensors"))
    if not checkpoints:
        raise FileNotFoundError(f"no {NAME}*.safetensors in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in (file for found in checkpoints for file in (found, found.with_suffix(".yaml"))):
        written.append(Path(shutil.copyfile(path, folder / path.name)))
    clip = tokenizer.build(folder / f"{NAME}-clip")
    (clip / "config.json").write_text(json.dumps(text_config(), indent=2), encoding="utf-8")
    return [*written, clip]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, required=True, help="WEBUI/models/Stable-diffusion")
    source = Path(__file__).resolve().parent
    parser.add_argument("--source", type=Path, default=source, help="folder of the checkpoints")
    arguments = parser.parse_args()
    for path in export(arguments.to, arguments.source):
        print(path)


if __name__ == "__main__":
    main()
