"""What was compiled, as the table of docs/kernels.md."""

from __future__ import annotations

from tests.gpu.aot import Case, Result
from tests.gpu.matrix import AMD, NVIDIA, VERSIONS, refused, targets
from tests.gpu.tritons import ROOT

PAGE = ROOT / "docs" / "kernels.md"
START, END = "<!-- compiled -->", "<!-- end of compiled -->"


def write(found: dict[str, list[Result]]) -> None:
    """Put the table between the page's marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{versions(found)}\n\n{costs(found)}\n{END}{after}", encoding="utf-8")


def versions(found: dict[str, list[Result]]) -> str:
    """A row a Triton, a column a target: registers / stack of D 64, 77 keys, or what failed; "torch" where
    the product goes another way."""
    lines = ["| Triton | torch | " + " | ".join(NVIDIA + AMD) + " |", "|---" * (2 + len(NVIDIA + AMD)) + "|"]
    for version, results in found.items():
        made = {result.case: result for result in results}
        cells = [cell(Case(target), version, made.get(Case(target))) for target in NVIDIA + AMD]
        lines.append(f"| {version} | {VERSIONS[version].removeprefix('torch ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(case: Case, version: str, result: Result | None) -> str:
    if result is None:
        return "torch" if case.target in targets(version) and refused(case, version) else ""
    return f"no: {result.error}" if result.error else f"{result.registers} / {result.stack}"


def costs(found: dict[str, list[Result]]) -> str:
    """Every kernel that the newest Triton compiled."""
    lines = [
        "| Target | D | keys | type | α | mask | φ | also | registers | stack | shared KB | products | way |",
        "|---" * 13 + "|",
    ]
    made = {result.case: result for result in found[max(found, key=lambda v: tuple(map(int, v.split("."))))]}
    for case, result in made.items():
        if result.error:
            continue
        fields = (
            case.target,
            case.dim,
            case.keys,
            case.dtype,
            case.alpha,
            case.mask,
            case.rescale or "",
            ", ".join(name for name in ("change", "lse") if getattr(case, name)),
            result.registers,
            result.stack,
            round(result.shared / 1024, 1),
            result.products,
            result.way or "",
        )
        lines.append("| " + " | ".join(map(str, fields)) + " |")
    return "\n".join(lines)
