"""Which steps, rows and keys of a diffusers pipeline are blended."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.diffusers import apply_pladis
from tests.models.pipelines import CASES, FLUX, SD, STEPS, Case, diffusers, sd
from tests.models.seen import made


@pytest.mark.parametrize(
    ("settings", "steps", "blended"),
    [({}, 4, 4), ({"start": 0.5}, 4, 2), ({"end": 0.25}, 4, 1), ({"start": 0.5, "end": 0.75}, 8, 2)],
)
def test_steps_are_the_pipelines_own(settings: dict[str, Any], steps: int, blended: int) -> None:
    _, applied = made(sd(), SD, settings, num_inference_steps=steps)
    (done,) = applied.report.passes
    assert (done.steps, done.steps_blended) == (steps, blended)
    assert done.calls_seen == 4 * blended


@pytest.mark.parametrize(
    "scheduler", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "UniPCMultistepScheduler"]
)
def test_a_schedule_runs_from_the_first_step_to_the_last(scheduler: str) -> None:
    pipe = sd()
    pipe.scheduler = getattr(diffusers, scheduler)()
    _, applied = made(pipe, SD, {"schedule": "linear up"}, num_inference_steps=5)
    scales = applied.report.passes[0].step_scales
    assert scales == sorted(scales) and scales[0] < 0.5 and scales[-1] > 1.5
    assert len(applied.report.passes) == 1


def test_image_to_image_counts_the_steps_that_it_takes_and_a_second_run_begins_anew() -> None:
    parts = sd().components
    pipe = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    given = {"image": torch.zeros(1, 4, 8, 8), "strength": 0.5, "num_inference_steps": 8, "output_type": "latent"}
    pipe.set_progress_bar_config(disable=True)
    with apply_pladis(pipe, start=0.5) as applied:
        for _ in range(2):
            pipe("a cat", **given)
    assert [(done.steps, done.steps_blended) for done in applied.report.passes] == [(4, 2), (4, 2)]


@pytest.mark.parametrize(("case", "given"), [(SD, {"guidance_scale": 1.0}), (FLUX, {"true_cfg_scale": 1.0})])
def test_without_guidance_every_row_is_the_positive_prompts(case: Case, given: dict[str, Any]) -> None:
    _, applied = made(case.pipe(), case, {"target": "positive"}, **given)
    (done,) = applied.report.passes
    assert done.rows_blended == done.calls_blended == case.layers * STEPS
    assert not done.reasons


def test_texts_made_before_are_told_apart_too() -> None:
    pipe = sd()
    positive, negative = pipe.encode_prompt("a cat", "cpu", 1, True, "a dog")
    given = {"prompt": None, "negative_prompt": None, "prompt_embeds": positive, "negative_prompt_embeds": negative}
    _, applied = made(pipe, SD, {"target": "negative"}, **given)
    assert applied.report.passes[0].rows_blended == 4 * STEPS
    same = {**given, "negative_prompt_embeds": positive}
    _, applied = made(pipe, SD, {"target": "negative"}, **same)
    assert "positive can't be known here" in str(applied.report)


def test_padding_of_a_text_made_before_is_not_known_and_it_is_said() -> None:
    pipe = FLUX.pipe()
    embeds, pooled, _ = pipe.encode_prompt("a cat", "a cat", "cpu", 1, max_sequence_length=24)
    given = {"prompt": None, "negative_prompt": None, "prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    _, applied = made(pipe, FLUX, **given)
    assert applied.report.passes[0].text_keys == [24]
    assert "how much of a text is padding can't be known here" in str(applied.report)


@pytest.mark.parametrize("name", ["SANA", "PixArt-α", "PixArt-Σ", "LTX-Video"])
def test_masked_keys_have_no_weight(name: str) -> None:
    """Whatever stands where a text is padding, the picture is the same: softmax, threshold and blend leave it out."""
    case = next(case for case in CASES if case.name == name)
    pipe = case.pipe()
    made_before = pipe.encode_prompt("a cat", negative_prompt="", max_sequence_length=24)
    names = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
    given = {"prompt": None, "negative_prompt": None, **dict(zip(names, made_before))}
    first, _ = made(pipe, case, **given)
    for text, mask in (names[:2], names[2:]):
        padding = given[mask][..., None] == 0
        assert padding.any()
        given[text] = torch.where(padding, torch.randn_like(given[text]) * 10, given[text])
    second, applied = made(pipe, case, **given)
    torch.testing.assert_close(second, first, atol=1e-5, rtol=0)
    assert applied.report.passes[0].calls_blended == case.layers * STEPS * case.network_calls
