"""diffusers' pipelines with PLADIS: every layer's output is the formula's in fp64, and without it nothing is left."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from lib_pladis.diffusers import apply_pladis
from lib_pladis.models.base import Family
from lib_pladis.models.diffusers import FAMILIES, find
from tests.models.pipelines import CASES, STEPS, Case, each
from tests.models.seen import attention_calls, scores, seen, state

LONGER = "three small yellow birds sit on a fence before a barn"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_has_a_pipeline_which_no_other_line_takes(family: Family) -> None:
    cases = [case for case in CASES if re.sub("-[αΣ]$", "", case.name) == family.name]
    assert cases, f"no case of {family.name} in tests/models/pipelines.py"
    for case in cases:
        layers = find(case.pipe().transformer).values()
        assert [layer.architecture for layer in layers] == [family.name] * case.layers


@each
def test_layers_compute_the_formula(case: Case) -> None:
    pipe = case.pipe()
    off, before = case.run(pipe), state(pipe)
    found = seen(case, pipe, {})
    assert found.calls == case.layers * STEPS * case.network_calls
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert found.others <= 2e-6
    assert found.difference > 0.1 * found.size, "the blend is not seen"
    (done,) = found.applied.report.passes
    assert (done.calls_seen, done.calls_blended) == (found.calls, found.calls)
    assert (done.steps, done.steps_blended, done.layers_found) == (STEPS, STEPS, case.layers)
    assert set(done.text_keys) == found.own
    assert not done.reasons
    assert str(found.applied.report) == done.line()
    assert not torch.equal(found.out, off)
    assert torch.equal(case.run(pipe), off)
    assert state(pipe) == before
    with apply_pladis(pipe, scale=0.0) as applied:
        assert torch.equal(case.run(pipe), off)
        assert state(pipe).keys() == before.keys()
    assert str(applied.report) == "PLADIS: not applied: λ is 0"


@each
def test_a_batch_of_unequal_prompts_and_two_pictures_of_each(case: Case) -> None:
    pictures = 2
    if case.packed or case.name == "CogVideoX":  # of two, diffusers mixes up the masks; CogVideoX makes always one
        pictures = 1
    several = {"num_videos_per_prompt" if "num_frames" in case.given else "num_images_per_prompt": pictures}
    case = replace(case, positive=(*case.positive, LONGER), given={**case.given, **several})
    found = seen(case, case.pipe(), {"alpha": 1.25, "scale": 1.5})
    assert found.calls == case.layers * STEPS * case.network_calls
    assert found.error <= 3e-5 * max(1.0, found.size)
    assert found.applied.report.passes[0].rows_blended == found.calls * pictures * (4 if case.network_calls == 1 else 2)


@each
@pytest.mark.parametrize("target", ["positive", "negative"])
def test_either_prompt_alone(case: Case, target: str) -> None:
    pipe = case.pipe()
    with attention_calls(pipe) as calls, apply_pladis(pipe, target=target) as applied:
        case.run(pipe)
    assert not applied.report.passes[0].reasons
    layers = [
        call for call in calls if (call.key.shape[2] in (77, 24) if case.calls is None else call.number in case.calls)
    ]
    blended = 0
    for call in layers:
        plain = torch.softmax(scores(call), -1) @ call.value.double()
        for row, prompt in enumerate(case.prompts(call.network_call, len(call.out))):
            differs = (call.out[row] - plain[row]).abs().max() > 1e-3
            assert differs == ((prompt == case.positive[0]) == (target == "positive"))
            blended += int(differs)
    assert applied.report.passes[0].rows_blended == blended > 0
