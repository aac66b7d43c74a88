"""The CLIP tokenizer, built on this machine from the vocabulary inside the open_clip_torch wheel.

Nothing is imported from that package (it would ask for torchvision) and nothing of the vocabulary
is kept in this repository: `build` writes the two files that `transformers.CLIPTokenizer` reads.
The recipe is that of CLIP: 256 byte symbols, the same at a word's end, 48894 merges, two marks.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

LENGTH = 77
"""Tokens of one prompt, with <|startoftext|> and <|endoftext|>, which also pads."""
MERGES = 49152 - 256 - 2


def vocabulary_path() -> Path:
    """The packed merges inside an installed open_clip_torch; FileNotFoundError without it."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    raise FileNotFoundError("no CLIP vocabulary found: run `pip install --no-deps open_clip_torch` first")


def byte_symbols() -> list[str]:
    """CLIP's 256 byte symbols in vocabulary order: printable bytes first, the others from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]


def build(folder: Path | str) -> Path:
    """Writes vocab.json, merges.txt and tokenizer_config.json to `folder` and returns it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = gzip.decompress(vocabulary_path().read_bytes()).decode("utf-8").split("\n")
    merges = lines[1 : MERGES + 1]
    symbols = byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols]
    tokens += ["".join(merge.split()) for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    merge_text = "#version: 0.2\n" + "\n".join(merges) + "\n"
    (folder / "merges.txt").write_text(merge_text, encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder


def load(folder: Path | str) -> CLIPTokenizer:
    """A transformers CLIPTokenizer from `folder`, built there first where it is missing."""
    from transformers import CLIPTokenizer

    folder = Path(folder)
    if not (folder / "tokenizer_config.json").is_file():
        build(folder)
    return CLIPTokenizer.from_pretrained(str(folder))
