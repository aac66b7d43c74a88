"""Where things are. Nothing is written beside the program: `data_path` is a temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

script_path: str = str(Path(__file__).resolve().parent.parent)
"""The host's own folder; its `scripts/` are the built-in scripts."""

playground_path: str = str(Path(script_path).parent)
data_path: str = tempfile.mkdtemp(prefix="pladis-playground-")
