"""The fused kernel, compiled ahead of time for GPUs that are not here, by Tritons that torch brings.

pytest tests/gpu                        a minute beside the downloads
PLADIS_TESTS_WHOLE=1 pytest tests/gpu   every Triton and every option, minutes
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.gpu.aot import Case, Result
from tests.gpu.matrix import CHECKED, WHOLE, cases
from tests.gpu.tritons import compile_all, tools
from tests.side_by_side import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton's wheels are for Linux")

SHARED = 48 * 1024
"""Static shared memory of every CUDA card; AMD's have 64 KiB."""

THREE_BLOCKS = 168
"""Registers a thread that let three blocks of 128 threads share a multiprocessor."""

AMPERE = {(40, 77): 1508, (64, 77): 1405, (80, 77): 1556, (128, 77): 1620, (160, 77): 1901}
COST = {
    "sm_80": {
        **AMPERE,
        **{(256, 77): 1341, (40, 154): 2365, (64, 154): 2379, (80, 154): 2598, (128, 154): 2847},
        **{(160, 154): 1386, (256, 154): 1692, (40, 231): 2351, (64, 231): 2237, (80, 231): 1891},
        **{(128, 231): 1670, (40, 512): 2435, (64, 512): 2325, (80, 512): 1930, (128, 512): 1715},
    },
    "sm_86": AMPERE,
    "sm_89": AMPERE,
    "sm_90": {
        **{(40, 77): 1567, (64, 77): 1445, (80, 77): 1517, (128, 77): 1639, (160, 77): 1783},
        **{(64, 154): 2240, (128, 154): 2619, (64, 512): 2329, (128, 512): 1797},
    },
    "sm_100": {(40, 77): 1719, (64, 77): 1405, (80, 77): 1668, (128, 77): 1692, (160, 77): 1911},
    "sm_120": {(40, 77): 1523, (64, 77): 1408, (80, 77): 1587, (128, 77): 1704, (160, 77): 1996},
}
"""Instructions on a query tile's way by target, head dimension and keys, fp16 and alpha 1.5: the most that any of the
Tritons made. Products of sm_90 and sm_100 take their factors from shared memory, and sm_100's leave results in a memory
of their own: with heads of 40 getting them there and back takes more instructions than they save."""

MARGIN = 1.02
"""What a change of the kernel may cost before it has to be looked at."""

SPARE = 16
"""Bytes of stack that are no spill to mend: what ptxas lays by to stay below a number of registers."""

ALPHA_COST = {2.0: 1.5, 1.25: 1.5, 1.75: 1.75}
"""The same of other alphas against alpha 1.5."""

MASK_COST = {"keys": 1.2, "bool": 1.4, "float": 1.4}
RESCALE_COST = 1.25
LSE_COST = 1.1


@pytest.fixture(scope="module")
def found() -> dict[str, list[Result] | str]:
    """What each version made of its cases, or why there is no such version here; one version a core at once."""

    def made(version: str) -> list[Result] | str:
        try:
            return compile_all(version, cases(version))
        except RuntimeError as error:
            return str(error)

    with suppress(RuntimeError):
        tools()  # installed once, before threads ask for them
    with ThreadPoolExecutor(cores() if WHOLE else 1) as pool:
        return dict(zip(CHECKED, pool.map(made, CHECKED)))


def results_of(found: dict[str, list[Result] | str], version: str) -> list[Result]:
    results = found[version]
    if isinstance(results, str):
        if "ended at" in results:
            pytest.fail(results)
        pytest.skip(f"Triton {version}: {results}")
    return results


@pytest.mark.parametrize("version", CHECKED)
def test_compiles_for_every_target_that_is_not_refused(found: dict[str, list[Result] | str], version: str) -> None:
    failed = [f"{result.case}: {result.error}" for result in results_of(found, version) if result.error]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("version", CHECKED)
def test_fits(found: dict[str, list[Result] | str], version: str) -> None:
    """No stack and no spills, shared memory of the smallest card, tensor cores, wide loads, three blocks."""
    wrong = []
    for result in results_of(found, version):
        case = result.case
        if result.error:
            continue
        amd = case.target.startswith("gfx")
        if result.stack > (0 if amd else SPARE):
            wrong.append(f"{case}: {result.stack} bytes of stack")
        if result.shared > (64 * 1024 if amd else SHARED):
            wrong.append(f"{case}: {result.shared} bytes of shared memory")
        if not result.products:
            wrong.append(f"{case}: no tensor-core products")
        if result.narrow and not narrow_allowed(case):
            wrong.append(f"{case}: {result.narrow} two-byte loads")
        if case.keys <= 80 and case.dim <= 80 and not amd and result.registers > THREE_BLOCKS:
            wrong.append(f"{case}: {result.registers} registers")
    assert not wrong, "\n".join(wrong)


def narrow_allowed(case: Case) -> bool:
    """Exceptions: a mask's rows of 77 halves start anywhere; AMD's second tile of 16 has fewer numbers than a block
    has threads, and RDNA takes whatever it loads in halves, which it packs afterwards."""
    return (
        case.mask != "none" or case.target.startswith("gfx1") or (case.target.startswith("gfx") and case.dim % 64 != 0)
    )


@pytest.mark.parametrize("version", CHECKED)
def test_cost(found: dict[str, list[Result] | str], version: str) -> None:
    """Instructions on a tile's way, counted in the machine code of NVIDIA's targets."""
    results = {result.case: result for result in results_of(found, version) if result.way}
    wrong = []
    for case, result in results.items():
        usual = results.get(replace(case, alpha=1.5, mask="none", rescale=0.0, change=False, lse=False))
        if usual is None:
            continue
        if result is usual:
            name, limit = "", MARGIN * COST[case.target][case.dim, case.keys]
        elif case.alpha != 1.5:
            name, limit = "alpha 1.5", ALPHA_COST[case.alpha] * usual.way
        elif case.mask != "none":
            name, limit = "no mask", MASK_COST[case.mask] * usual.way
        elif case.lse:
            name, limit = "without what joint attention asks for", LSE_COST * usual.way
        else:
            name, limit = "no rescale", RESCALE_COST * usual.way
        if result.way > limit:
            wrong.append(f"{case}: {result.way} instructions, allowed {limit:.0f} {name and f'by {name}'}")
    assert not wrong, "\n".join(wrong)
