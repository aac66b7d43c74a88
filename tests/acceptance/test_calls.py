"""PLADIS is on in every cross-attention call of every step it should be on in, and nowhere else.

Rows are counted, not calls: hosts differ in how they batch, but a step always sends one row per picture
and positive prompt, and one per picture for the negative prompt where guidance uses it.
"""

from __future__ import annotations

from typing import Any

import pytest

from playground.client import Refused
from tests.acceptance.webui import LONG, PROMPT, WebUI, decode, encode

ON = [True, 2.0, 1.5]


def check(
    report_pass: Any, *, steps: Any, rows: Any, layers: Any = None, blended_steps: Any = None, blended_rows: Any = None
) -> None:
    """One pass: `rows` U-Net rows in each of `steps` steps, all blended unless said otherwise."""
    blended_steps = steps if blended_steps is None else blended_steps
    blended_rows = rows if blended_rows is None else blended_rows
    hooked = len(report_pass["layers_hooked"])
    assert hooked == (report_pass["layers_found"] if layers is None else layers)
    assert report_pass["steps"] == steps
    assert report_pass["steps_blended"] == blended_steps
    assert report_pass["rows_blended"] == hooked * blended_steps * blended_rows
    assert report_pass["calls_seen"] % (hooked * blended_steps) == 0, "every layer in every step"
    if blended_rows == rows:
        assert report_pass["calls_seen"] == report_pass["calls_blended"]
    assert report_pass["why_not"] == []


def need(condition: Any, reason: Any) -> None:
    if not condition:
        pytest.skip(reason)


def test_txt2img(ui: WebUI, off: Any) -> None:
    on = ui.txt2img(ON)
    (only,) = on.passes
    check(only, steps=ui.steps, rows=2)
    assert on.pixels != off.pixels


def test_without_cfg_there_is_no_negative_row(ui: WebUI) -> None:
    check(ui.txt2img(ON, cfg_scale=1).passes[0], steps=ui.steps, rows=1 if ui.kind != "a1111" else 2)


def test_without_a_negative_prompt(ui: WebUI) -> None:
    check(ui.txt2img(ON, negative_prompt="").passes[0], steps=ui.steps, rows=2)


@pytest.mark.parametrize(
    "fields", [{"prompt": LONG}, {"negative_prompt": LONG}, {"prompt": LONG, "negative_prompt": LONG}]
)
def test_prompts_of_other_lengths(ui: WebUI, fields: Any) -> None:
    check(ui.txt2img(ON, **fields).passes[0], steps=ui.steps, rows=2)


def test_several_positives_with_and(ui: WebUI) -> None:
    prompt = f"{PROMPT} AND a green star :1.2 AND a yellow ring :0.5"
    check(ui.txt2img(ON, prompt=prompt).passes[0], steps=ui.steps, rows=4)
    longer = f"{PROMPT} AND a green star"
    check(ui.txt2img(ON, prompt=longer, negative_prompt=LONG).passes[0], steps=ui.steps, rows=3)


def test_batches(ui: WebUI) -> None:
    on = ui.txt2img(ON, batch_size=3, n_iter=2)
    assert len(on.passes) == 2
    for each in on.passes:
        check(each, steps=ui.steps, rows=6)


@pytest.mark.parametrize("target", ["positive", "negative"])
@pytest.mark.parametrize("fields", [{}, {"negative_prompt": LONG}, {"batch_size": 2}], ids=["same", "longer", "batch"])
def test_target(ui: WebUI, off: Any, target: str, fields: Any) -> None:
    pictures = fields.get("batch_size", 1)
    on = ui.txt2img({"enabled": True, "target": target}, **fields)
    check(on.passes[0], steps=ui.steps, rows=2 * pictures, blended_rows=pictures)
    assert on.pixels != off.pixels


def test_start_end_and_schedule(ui: WebUI) -> None:
    on = ui.txt2img({"enabled": True, "start": 0.25, "end": 0.75, "schedule": "linear up"}, steps=8)
    (only,) = on.passes
    check(only, steps=8, rows=2, blended_steps=4)
    assert only["step_scales"] == [0, 0, 0.25, 0.75, 1.25, 1.75, 0, 0]


def test_chosen_layers(ui: WebUI) -> None:
    chosen = [ui.layers[0], ui.layers[len(ui.layers) // 2], ui.layers[-1]]
    on = ui.txt2img({"enabled": True, "layers": ",".join(chosen)})
    check(on.passes[0], steps=ui.steps, rows=2, layers=3)
    assert on.passes[0]["layers_hooked"] == chosen


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [
        ("Euler a", {4}),
        ("DPM++ 2M", {4}),
        ("Heun", {7}),
        ("DPM2", {7}),
        ("DPM++ SDE", {7}),
        ("DDIM", {3, 4}),  # AUTOMATIC1111's makes one call less than it has timesteps
        ("UniPC", {4}),
        ("PLMS", {3, 4, 5}),
    ],
)
def test_samplers(ui: WebUI, sampler: Any, calls: Any) -> None:
    need(sampler in ui.samplers, f"this host has no sampler {sampler}")
    (only,) = ui.txt2img(ON, sampler_name=sampler, steps=4).passes
    assert only["steps"] in calls
    check(only, steps=only["steps"], rows=2)


def source(ui: WebUI) -> str:
    return encode(decode(ui.txt2img([False]).images[0]))


def test_img2img(ui: WebUI) -> None:
    off = ui.img2img([False], init_images=[source(ui)], denoising_strength=0.5)
    on = ui.img2img(ON, init_images=[source(ui)], denoising_strength=0.5)
    check(on.passes[0], steps=int(0.5 * ui.steps) + 1, rows=2)
    assert on.pixels != off.pixels


def test_inpainting(ui: WebUI) -> None:
    picture = decode(source(ui))
    mask = picture.point(lambda value: 0).convert("L")
    mask.paste(255, (0, 0, ui.size // 2, ui.size))
    fields = {"init_images": [encode(picture)], "mask": encode(mask), "denoising_strength": 0.99, "mask_blur": 0}
    on = ui.img2img(ON, inpainting_fill=1, **fields)
    check(on.passes[0], steps=int(0.99 * ui.steps) + 1, rows=2)


def test_hires_fix(ui: WebUI) -> None:
    on = ui.txt2img(ON, **ui.hires)
    assert [each["stage"] for each in on.passes] == ["first", "hires"]
    check(on.passes[0], steps=ui.steps, rows=2)
    check(on.passes[1], steps=3, rows=2)
    assert len(on.images) >= 1 and decode(on.images[0]).width == ui.size * ui.hires["hr_scale"]


def test_hires_override(ui: WebUI) -> None:
    on = ui.txt2img({"enabled": True, "hr_override": True, "hr_scale": 1.0, "hr_alpha": 2.0}, **ui.hires)
    assert [(each["scale"], each["alpha"]) for each in on.passes] == [(2.0, 1.5), (1.0, 2.0)]
    only_hires = ui.txt2img({"enabled": True, "scale": 0.0, "hr_override": True, "hr_scale": 1.0}, **ui.hires)
    assert [each["calls_blended"] > 0 for each in only_hires.passes] == [False, True]


def other_model(ui: WebUI) -> str:
    """Another checkpoint of the loaded one's family."""
    need(ui.kind != "playground", "the playground draws with one checkpoint at a time")
    loaded = str(ui.options.get("sd_model_checkpoint"))
    family = next((t for t in ui.models if t == loaded or t.startswith(loaded.split(".")[0] + ".")), ui.models[0])
    stem = family.split(".")[0].split("-")[0]  # "sd15-a", "sd15-b"; "pladis-playground", "pladis-playground-4step"
    others = [t for t in ui.models if t != family and t.split("-")[0] == stem]
    need(others, f"this host has no other checkpoint named {stem}-…")
    return others[0]


def test_hires_with_another_checkpoint(ui: WebUI, off: Any) -> None:
    other = other_model(ui)
    on = ui.txt2img(ON, hr_checkpoint_name=other, **ui.hires)
    check(on.passes[0], steps=ui.steps, rows=2)
    check(on.passes[-1], steps=3, rows=2)
    assert on.passes[-1]["stage"] == "hires"
    assert ui.txt2img([False]).pixels == off.pixels, "and the first model is back, clean"


def test_refiner(ui: WebUI, off: Any) -> None:
    other = other_model(ui)
    fields = {"refiner_checkpoint": other, "refiner_switch_at": 0.5, "steps": 8}
    plain = ui.txt2img([False], **fields)
    on = ui.txt2img(ON, **fields)
    assert sum(each["steps"] for each in on.passes) == 8
    assert len(on.passes) in (1, 2), "a host that keeps the modules and swaps their weights makes one pass of it"
    for each in on.passes:
        check(each, steps=each["steps"], rows=2)
    assert on.pixels != plain.pixels
    assert ui.txt2img([False]).pixels == off.pixels


def test_every_checkpoint(ui: WebUI, off: Any) -> None:
    """Every architecture that the host offers, one after the other."""
    need(len(ui.models) > 1, "this host has one checkpoint only")
    kinds = {}
    for title in ui.models:
        fields = {"override_settings": {"sd_model_checkpoint": title}}
        try:
            plain = ui.txt2img([False], **fields)
        except Refused as error:
            print(f"{title}: the host itself can't generate with it: {error}")
            continue
        on = ui.txt2img(ON, **fields)
        check(on.passes[0], steps=ui.steps, rows=2)
        assert on.pixels != plain.pixels
        kinds[title] = (on.passes[0]["model_kind"], on.passes[0]["layers_found"])
        assert ui.txt2img([False], **fields).pixels == plain.pixels
    print(kinds)
    assert len(kinds) > 1
    assert ui.txt2img([False]).pixels == off.pixels


OPTIMIZERS = ["None", "Doggettx", "InvokeAI", "sub-quadratic", "sdp", "sdp-no-mem", "V1"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(ui: WebUI, optimizer: Any) -> None:
    known = {"a1111": OPTIMIZERS, "playground": ["None", "sdp-no-mem"]}.get(ui.kind, [])
    need(optimizer in known, f"{ui.kind} has no attention optimizer of that name to choose")
    ui.set_option("cross_attention_optimization", optimizer)
    off = ui.txt2img([False])
    on = ui.txt2img(ON)
    check(on.passes[0], steps=ui.steps, rows=2)
    assert on.pixels != off.pixels
    assert ui.txt2img([False]).pixels == off.pixels


def test_upcast_attention(ui: WebUI) -> None:
    need("upcast_attn" in ui.options, "this host has no option upcast_attn")
    ui.set_option("upcast_attn", True)
    check(ui.txt2img(ON).passes[0], steps=ui.steps, rows=2)


def test_cond_and_uncond_in_separate_calls(ui: WebUI) -> None:
    need(not ui.is_forge, "Forge always batches cond and uncond where memory allows")
    ui.set_option("batch_cond_uncond", False)
    on = ui.txt2img({"enabled": True, "target": "positive"})
    check(on.passes[0], steps=ui.steps, rows=2, blended_rows=1)


def test_steps_that_skip_the_negative(ui: WebUI) -> None:
    need(ui.kind not in ("forge", "neo"), "Forge runs these steps at CFG 1, which test_without_cfg counts")
    ui.set_option("skip_early_cond", 0.5)
    (only,) = ui.txt2img(ON, steps=8).passes
    layers = only["layers_found"]
    assert only["rows_blended"] == layers * (5 * 1 + 3 * 2)


@pytest.mark.parametrize("network", ["hypernet", "lora"])
def test_extra_networks(ui: WebUI, network: Any) -> None:
    names = ui.names("/sdapi/v1/hypernetworks" if network == "hypernet" else "/sdapi/v1/loras")
    need(names, f"this host offers no {network}")
    differs = []
    for name in names:
        prompt = f"{PROMPT} <{network}:{name}:1>"
        on = ui.txt2img(ON, prompt=prompt)
        check(on.passes[0], steps=ui.steps, rows=2)
        differs.append(on.pixels != ui.txt2img(ON).pixels)
    assert any(differs), "the network reaches the blended attention"
