"""Where a person's own things are kept."""

from __future__ import annotations

from pathlib import Path

data_path: str = str(Path(__file__).resolve().parents[2] / "data")
"""The folder that `--data-dir` names; extensions keep their files in it."""
