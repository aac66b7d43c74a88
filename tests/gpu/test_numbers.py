"""What was compiled is also run: the numbers of compiled code, not only of Triton's interpreter, against fp64."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.gpu.aot import Case
from tests.gpu.matrix import CHECKED, NEWEST, WHOLE
from tests.gpu.ptx import Memory
from tests.gpu.tritons import install, shares

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton's wheels are for Linux")

CASES = (
    Case("sm_80"),
    Case("sm_80", 40, keys=154, mask="float"),
    Case("sm_80", 80, keys=231),
    Case("sm_80", alpha=1.75, mask="bool"),
    Case("sm_80", alpha=1.25, dtype="bf16"),
    Case("sm_80", rescale=0.5, mask="keys"),
    Case("sm_89", alpha=2.0),
    Case("sm_80", change=True, lse=True),
    Case("sm_80", 128, keys=40, alpha=1.25, rescale=0.5, change=True, lse=True, mask="bool"),
)


VERSIONS = [each for each in ("3.6.0", "3.7.0", "3.7.1", "3.8.0", NEWEST) if each in CHECKED] if WHOLE else [NEWEST]


@pytest.mark.parametrize("version", VERSIONS)
def test_compiled_code_is_right(version: str) -> None:
    """No error above half of what rounding weights and result once each may make."""
    try:
        install(version)
    except RuntimeError as error:
        pytest.skip(f"Triton {version}: {error}")
    cases = CASES if WHOLE else CASES[-1:]
    found = dict(zip(cases, shares(version, cases)))
    assert all(share < 0.5 for share in found.values()), found
    assert all(share > 0.01 for share in found.values()), "what was run is not what was compared"


def test_memory_refuses_what_lies_outside() -> None:
    memory = Memory()
    tensor = torch.zeros(64, dtype=torch.float16)
    start = memory.add(tensor)
    addresses = start + 2 * torch.arange(64).numpy()
    raw, index = memory.at(addresses, 2, write=False)
    assert raw[index].shape == (64, 2)
    for wrong, write in ((addresses + 2, False), (addresses - 2, False), (addresses, True)):
        with pytest.raises(IndexError):
            memory.at(wrong, 2, write)
