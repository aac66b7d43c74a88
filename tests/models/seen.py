"""Each call of a layer of a tiny pipeline with PLADIS, held against the formula in fp64.

python -m tests.models.seen        the table of docs/models.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib_pladis.diffusers import AppliedPladis, apply_pladis
from tests.models.pipelines import CASES, STEPS, Case
from tests.oracle import joint_weights, reference

NAME = "scaled_dot_product_attention"


@dataclass
class Call:
    """One call of torch's attention, as the pipeline's processors made it, and what they got."""

    network_call: int
    number: int
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    out: Tensor


@contextmanager
def attention_calls(pipe: Any) -> Iterator[list[Call]]:
    """Those of the pipeline's network, in their order; what an attention is computed with isn't among them."""
    plain = getattr(torch.nn.functional, NAME)
    network = getattr(pipe, "unet", None) or pipe.transformer
    calls: list[Call] = []
    network_calls, inside = -1, 0

    def begin(*_: Any) -> None:
        nonlocal network_calls
        network_calls += 1

    def spy(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **more: Any) -> Tensor:
        nonlocal inside
        inside += 1
        try:
            out = plain(query, key, value, attn_mask=attn_mask, **more)
        finally:
            inside -= 1
        if not inside and network_calls >= 0:
            before = [call for call in calls if call.network_call == network_calls]
            if more.get("enable_gqa"):
                key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
            calls.append(Call(network_calls, len(before), query, key, value, attn_mask, out))
        return out

    handle = network.register_forward_pre_hook(begin)
    setattr(torch.nn.functional, NAME, spy)
    try:
        yield calls
    finally:
        setattr(torch.nn.functional, NAME, plain)
        handle.remove()


@dataclass
class Seen:
    """What a run was: the error is the largest of any layer, call and entry; so are size and difference."""

    applied: AppliedPladis
    out: Tensor
    calls: int = 0
    network_calls: int = 0
    error: float = 0.0
    size: float = 0.0
    difference: float = 0.0
    others: float = 0.0
    own: set[int] = field(default_factory=set)


def seen(case: Case, pipe: Any, settings: dict[str, Any], **given: Any) -> Seen:
    """Run a case with PLADIS; hold every call of its attention against the formula, or against plain attention."""
    with attention_calls(pipe) as calls, apply_pladis(pipe, **settings) as applied:
        out = case.run(pipe, **given)
    found = Seen(applied, out, network_calls=1 + calls[-1].network_call)
    for call in calls:
        text_keys = call.key.shape[2] in (77, 24) if case.calls is None else call.number in case.calls
        plain = torch.softmax(scores(call), -1) @ call.value.double()
        if not text_keys:
            found.others = max(found.others, (call.out - plain).abs().max().item())
            continue
        wanted = expected(case, call, settings, found)
        found.calls += 1
        found.error = max(found.error, (call.out - wanted).abs().max().item())
        found.size = max(found.size, plain.abs().max().item())
        found.difference = max(found.difference, (wanted - plain).abs().max().item())
    return found


def state(pipe: Any) -> Mapping[str, Any]:
    """What a pipeline's modules have: by identity, dicts by what is in them. And which functions are the pipeline's."""
    found: dict[str, Any] = {"": {name: id(value) for name, value in vars(pipe).items() if callable(value)}}
    for part, component in pipe.components.items():
        for name, module in component.named_modules() if isinstance(component, torch.nn.Module) else ():
            found[f"{part}.{name}"] = {
                key: {k: id(v) for k, v in value.items()} if isinstance(value, dict) else id(value)
                for key, value in vars(module).items()
            }
    return found


def made(pipe: Any, case: Case, settings: dict[str, Any] | None = None, **given: Any) -> tuple[Tensor, AppliedPladis]:
    """What a case makes with PLADIS, and the report's owner."""
    with apply_pladis(pipe, **(settings or {})) as applied:
        return case.run(pipe, **given), applied


def scores(call: Call) -> Tensor:
    z = call.query.double() @ call.key.double().transpose(-1, -2) * call.query.shape[-1] ** -0.5
    if call.mask is None:
        return z
    return z.masked_fill(~call.mask, -1e30) if call.mask.dtype == torch.bool else z + call.mask.double()


def expected(case: Case, call: Call, settings: dict[str, Any], found: Seen) -> Tensor:
    """The formula in fp64, with text and picture where they are written down to be."""
    scale, alpha = settings.get("scale", 2.0), settings.get("alpha", 1.5)
    temperature, rescale = settings.get("temperature", 1.0), settings.get("rescale", 0.0)
    if case.text_at is None:
        return reference(
            call.query, call.key, call.value, scale, alpha, temperature, attn_mask=call.mask, rescale=rescale
        )
    rows = []
    prompts = case.prompts(call.network_call, len(call.query))
    longest = max(case.own(prompt) for prompt in prompts)
    for row, prompt in enumerate(prompts):
        own = case.own(prompt)
        found.own.add(own)
        text, picture = torch.zeros(1, call.key.shape[2], dtype=torch.bool), torch.zeros(call.query.shape[2]).bool()
        text[0, case.text_at : case.text_at + own] = True
        first = {"": case.picture_at, "each": own, "longest": longest}[case.packed]
        picture[first : first + case.picture] = True
        one = slice(row, row + 1)
        mask = call.mask if call.mask is None or len(call.mask) == 1 else call.mask[one]
        query, key, value = call.query[one], call.key[one], call.value[one].double()
        weights, dense = joint_weights(query, key, text, picture, scale, alpha, temperature, attn_mask=mask)
        of_text, dense_of_text = (each[..., text[0]] @ value[:, :, text[0]] for each in (weights, dense))
        factor = 1 - rescale + rescale * dense_of_text.norm(dim=-1, keepdim=True) / of_text.norm(dim=-1, keepdim=True)
        rows.append(weights @ value + (factor - 1) * of_text)
    return torch.cat(rows)


def main() -> None:
    print("| pipeline | calls = layers × steps × network calls | prompt's own text keys | error | size | difference |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        found = seen(case, case.pipe(), {})
        own = " and ".join(str(count) for count in sorted(found.own)) or "all that aren't masked"
        product = f"{found.calls} = {case.layers} × {STEPS} × {found.network_calls // STEPS}"
        print(f"| {case.name} | {product} | {own} | {found.error:.1e} | {found.size:.2g} | {found.difference:.2g} |")


if __name__ == "__main__":
    main()
