"""Puts the playground's models into a real webui: `export.py --to WEBUI/models/Stable-diffusion`.

Writes a full SD1 checkpoint for each, put together from `weights/`, its .yaml beside it, and the
folder that the .yaml files name for the text model, which is the same in all: its config.json and
the CLIP tokenizer (built here, see tokenizer.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playground.model import tokenizer, weights
from playground.model.nets import TEXT


def export(folder: Path, source: Path = weights.FOLDER) -> list[Path]:
    """Writes everything into `folder` (made where missing) and returns what was written.

    Raises FileNotFoundError where `source` lacks a part of the weights; then nothing is written.
    """
    files = {f"{name}.safetensors": weights.checkpoint(name, source) for name in weights.UNETS}
    settings = (source / weights.SETTINGS).read_bytes()
    files |= {f"{name}.yaml": settings for name in weights.UNETS}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    config = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", **TEXT}
    clip = tokenizer.build(folder / f"{weights.NAME}-clip")
    (clip / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return [*(folder / name for name in files), clip]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--to", type=Path, required=True, help="WEBUI/models/Stable-diffusion")
    for path in export(parser.parse_args().to):
        print(path)


if __name__ == "__main__":
    main()
