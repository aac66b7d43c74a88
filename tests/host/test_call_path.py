"""The path of one call of a hooked layer: which functions it passes, in which order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from lib_pladis.kernels.torch_chunked import Chunked
from tests.host.a1111 import ON, generate

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "lib_pladis"


def path_to_the_kernel(run: Any) -> set[tuple[str, ...]]:
    """Each stack of library functions that a kernel was called through, `file.function`, outermost first."""
    kernel = Chunked.attend.__code__
    found: set[tuple[str, ...]] = set()

    def see(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is kernel:
            stack, at = [], frame
            while at is not None:
                file = Path(at.f_code.co_filename)
                if LIBRARY in file.parents:
                    stack.append(f"{file.relative_to(LIBRARY).with_suffix('')}.{at.f_code.co_name}")
                at = at.f_back  # type: ignore[assignment]
            found.add(tuple(reversed(stack)))

    sys.setprofile(see)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


def test_a_call_takes_the_path_in_contributing(sd_model: Any, inputs: Any) -> None:
    """CONTRIBUTING's drawing, by running it: all calls of all layers take this path and no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^ +lib_pladis/(\S+)", text, re.M)
    path = path_to_the_kernel(lambda: generate(sd_model, ON, [inputs()], steps=2))
    assert path == {tuple(drawn)}


def test_hosts_and_run_do_not_import_each_other() -> None:
    """They meet in `lib_pladis.protocol`."""
    code = """if True:
        import sys
        for room, other in ("run.session", "hosts"), ("hosts", "run"):
            for name in [name for name in sys.modules if name.startswith("lib_pladis")]:
                del sys.modules[name]
            __import__(f"lib_pladis.{room}")
            if room == "hosts":
                import lib_pladis.hosts.diffusers
            print([name for name in sys.modules if name.startswith(f"lib_pladis.{other}")])
    """
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["[]", "[]"]
