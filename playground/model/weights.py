"""The weights in this repository, and the full SD1 checkpoints that they make.

`weights/` has each part once: both models share the text model, the autoencoder, the schedule and
the settings (`model.yaml`), and each has a UNet of its own. Of the text model's embedding it has the
trained rows only: every other token reads one common row (`expand`). Each part is packed without loss (`pack`).
"""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

import numpy as np
from safetensors.torch import load, save
from torch import Tensor

NAME = "pladis-playground"
UNETS = {NAME: "unet", f"{NAME}-4step": "unet-4step"}
"""The models, and the file of each one's UNet. The second is stored as its difference from the first."""
SHARED = ("schedule", "text", "vae")
"""The files that all models share."""
FOLDER = Path(__file__).parent / "weights"
SETTINGS = "model.yaml"

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer."

TOKENS = 49408
"""CLIP's vocabulary: the rows of the full embedding."""
EMBEDDING = f"{TEXT_PREFIX}text_model.embeddings.token_embedding.weight"
TRAINED_IDS, TRAINED_ROWS = f"{EMBEDDING}.ids", f"{EMBEDDING}.rows"
"""What `text.xz` has in the embedding's place: n token ids; n + 1 rows, the first the common one."""

METADATA = {"format": "pt"}


def _ordered(halves: np.ndarray) -> np.ndarray:
    """fp16 bit patterns, as uint16, to uint16 numbers in the order of their values: close values get close numbers."""
    return np.where(halves & 0x8000, ~halves, halves | 0x8000)


def pack(file: bytes, base: bytes = b"") -> bytes:
    """A safetensors file, packed: xz over all high bytes, then all low bytes, of its numbers.

    With `base`, a file with the same tensors: over the difference from it, which is smaller where the values are close.
    """
    start = _start(file)
    numbers = np.frombuffer(file, "<u2", offset=start)
    if base:
        rise = (_ordered(numbers) - _ordered(np.frombuffer(base, "<u2", offset=start))).view(np.int16)
        numbers = ((rise << 1) ^ (rise >> 15)).view(np.uint16)
    planes = np.concatenate([numbers >> 8, numbers & 255]).astype(np.uint8)
    return lzma.compress(file[:start] + planes.tobytes(), preset=9)


def unpack(data: bytes, base: bytes = b"") -> bytes:
    """The file that `pack` took, byte for byte."""
    packed = lzma.decompress(data)
    start = _start(packed)
    high, low = np.frombuffer(packed, np.uint8, offset=start).astype(np.uint16).reshape(2, -1)
    numbers = high << 8 | low
    if base:
        rise = numbers >> 1 ^ -(numbers & 1)
        ordered = _ordered(np.frombuffer(base, "<u2", offset=start)) + rise
        numbers = np.where(ordered & 0x8000, ordered & 0x7FFF, ~ordered)
    return packed[:start] + numbers.astype("<u2").tobytes()


def _start(file: bytes) -> int:
    """Where a safetensors file's numbers begin."""
    return 8 + int.from_bytes(file[:8], "little")


def expand(ids: Tensor, rows: Tensor) -> Tensor:
    """(n,) token ids and (n + 1, width) rows -> (TOKENS, width): row 0 where no id says otherwise."""
    full = rows[0].repeat(TOKENS, 1)
    full[ids.long()] = rows[1:]
    return full


def assemble(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """All tensors of the SD1 checkpoint `name`, a key of `UNETS`, as stored: fp16, the schedule fp32.

    Raises KeyError for another name, FileNotFoundError where a part is missing.
    """
    paths = {part: folder / f"{part}.xz" for part in (*SHARED, *dict.fromkeys((UNETS[NAME], UNETS[name])))}
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {name} cannot be put together")
    files = {part: unpack(paths[part].read_bytes()) for part in (*SHARED, UNETS[NAME])}
    if name != NAME:
        base = files.pop(UNETS[NAME])
        files[UNETS[name]] = unpack(paths[UNETS[name]].read_bytes(), base)
    tensors: dict[str, Tensor] = {}
    for file in files.values():
        tensors.update(load(file))
    tensors[EMBEDDING] = expand(tensors.pop(TRAINED_IDS), tensors.pop(TRAINED_ROWS))
    return tensors


def checkpoint(name: str, folder: Path = FOLDER) -> bytes:
    """The checkpoint file `name` that `assemble`'s tensors make."""
    return save(assemble(name, folder), METADATA)


def sha256(source: Path | str) -> str:
    """Of a checkpoint's file, in hex; `source` is a name of `UNETS` or a path.

    A webui shows its first ten digits as the model's hash.
    """
    data = checkpoint(str(source)) if str(source) in UNETS else Path(source).read_bytes()
    return hashlib.sha256(data).hexdigest()
