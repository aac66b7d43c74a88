"""Run by the web UI before it loads the extension: installs `entmax` if it is missing.

`entmax` needs nothing but torch, which the web UI has: it is installed without dependencies, so that
torch, gradio and numpy stay as they are. The extension works without it (only the kernel named "entmax"
on the settings page needs it), so that a machine without network is not held up.
"""

from __future__ import annotations

import sys

import launch

REQUIREMENT = "entmax==1.3"


def main() -> None:
    if getattr(launch.args, "skip_install", False) or launch.is_installed("entmax"):
        return
    try:
        launch.run_pip(f"install --no-deps {REQUIREMENT}", "entmax for PLADIS")
    except RuntimeError as error:
        print(f"PLADIS: entmax could not be installed, going on without it: {error}", file=sys.stderr)


main()
