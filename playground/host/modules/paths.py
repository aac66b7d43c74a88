"""Where things are."""

from __future__ import annotations

from pathlib import Path

script_path: str = str(Path(__file__).resolve().parent.parent)
"""The host's own folder; its `scripts/` are the built-in scripts."""
