"""Puts trained checkpoints into `weights/`: `store.py DIR/pladis-playground.safetensors ...`.

Takes what train.py and distil.py write, each with its .yaml beside it. What the models share is
written once, and refused where it is not the same in all of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from playground.model import weights

PREFIXES = {"text": weights.TEXT_PREFIX, "vae": weights.VAE_PREFIX, "unet": weights.UNET_PREFIX}


def known(embedding: Tensor) -> Tensor:
    """(TOKENS, width) fp16 -> (n,) int32, rising: the tokens whose row is not the most frequent one."""
    _, kind, counts = torch.unique(embedding.view(torch.int16), dim=0, return_inverse=True, return_counts=True)
    return (kind != counts.argmax()).nonzero()[:, 0].int()


def split(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A full checkpoint's tensors by part: "text", "vae", "unet", and "schedule" for what has no prefix."""
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in (*PREFIXES, "schedule")}
    for name, value in tensors.items():
        part = next((part for part, prefix in PREFIXES.items() if name.startswith(prefix)), "schedule")
        parts[part][name] = value
    embedding = parts["text"].pop(weights.EMBEDDING)
    ids = known(embedding)
    unknown = torch.ones(len(embedding), dtype=torch.bool)
    unknown[ids.long()] = False
    rows = torch.cat([embedding[unknown][:1], embedding[ids.long()]])
    parts["text"].update({weights.TRAINED_IDS: ids, weights.TRAINED_ROWS: rows})
    return parts


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether both have the same tensors under the same names."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def store(files: list[Path], folder: Path = weights.FOLDER) -> list[Path]:
    """Writes the parts of the checkpoints `files` into `folder` and returns what was written.

    Raises ValueError for a name that is not one of `weights.UNETS`, and where the models would not
    share their text model, autoencoder, schedule and settings: among `files`, or with a model whose
    UNet is already in `folder` and that is not among `files`.
    """
    names = [file.stem for file in files]
    if not files or not set(names) <= set(weights.UNETS):
        raise ValueError(f"got {', '.join(names) or 'nothing'}: the models are {', '.join(weights.UNETS)}")
    parts = {file.stem: split(load_file(str(file))) for file in files}
    settings = {file.stem: file.with_suffix(".yaml").read_text(encoding="utf-8") for file in files}
    for name, unet in weights.UNETS.items():
        if name not in names and (folder / f"{unet}.safetensors").is_file():
            parts[name] = split(weights.assemble(name, folder))
            settings[name] = (folder / weights.SETTINGS).read_text(encoding="utf-8")
    first = names[0]
    for name in parts:
        for part in weights.SHARED:
            if not same(parts[name][part], parts[first][part]):
                raise ValueError(f"{name} and {first} do not have the same {part}: one is made from the other")
        if settings[name] != settings[first]:
            raise ValueError(f"{name}.yaml and {first}.yaml are not the same")
    folder.mkdir(parents=True, exist_ok=True)
    written = {folder / f"{part}.safetensors": parts[first][part] for part in weights.SHARED}
    written |= {folder / f"{weights.UNETS[name]}.safetensors": parts[name]["unet"] for name in names}
    for path, tensors in written.items():
        save_file(tensors, str(path), metadata=weights.METADATA)
    (folder / weights.SETTINGS).write_text(settings[first], encoding="utf-8")
    return [*written, folder / weights.SETTINGS]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", type=Path, nargs="+", help="the .safetensors that train.py and distil.py wrote")
    for path in store(parser.parse_args().checkpoints):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
