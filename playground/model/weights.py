"""The weights in this repository, and the full SD1 checkpoints that they make.

`weights/` has each part once: both models share the text model, the autoencoder, the schedule and
the settings (`model.yaml`), and each has a UNet of its own. Of the text model's embedding it has the
trained rows only: every other token reads one common row (`expand`), so nothing is lost.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

NAME = "pladis-playground"
UNETS = {NAME: "unet", f"{NAME}-4step": "unet-4step"}
"""The models, and the file of each one's UNet."""
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
"""What `text.safetensors` has in the embedding's place: n token ids; n + 1 rows, the first the common one."""

METADATA = {"format": "pt"}


def expand(ids: Tensor, rows: Tensor) -> Tensor:
    """(n,) token ids and (n + 1, width) rows -> (TOKENS, width): row 0 where no id says otherwise."""
    full = rows[0].repeat(TOKENS, 1)
    full[ids.long()] = rows[1:]
    return full


def assemble(name: str, folder: Path = FOLDER) -> dict[str, Tensor]:
    """All tensors of the SD1 checkpoint `name`, a key of `UNETS`, as stored: fp16, the schedule fp32.

    Raises KeyError for another name, FileNotFoundError where a part is missing.
    """
    tensors: dict[str, Tensor] = {}
    for part in (*SHARED, UNETS[name]):
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {name} cannot be put together")
        tensors.update(load_file(str(path)))
    tensors[EMBEDDING] = expand(tensors.pop(TRAINED_IDS), tensors.pop(TRAINED_ROWS))
    return tensors


def packed(name: str, folder: Path = FOLDER) -> bytes:
    """The checkpoint file `name` that `assemble`'s tensors make."""
    return save(assemble(name, folder), METADATA)


def sha256(source: Path | str) -> str:
    """Of a checkpoint's file, in hex; `source` is a name of `UNETS` or a path.

    A webui shows its first ten digits as the model's hash.
    """
    data = packed(str(source)) if str(source) in UNETS else Path(source).read_bytes()
    return hashlib.sha256(data).hexdigest()
