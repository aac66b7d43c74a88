"""Every setting in a diffusers pipeline, by its name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lib_pladis.diffusers import NOT_HERE, apply_pladis
from lib_pladis.settings import TABLE, SettingsError
from tests.models.pipelines import FLUX, SANA, SD, STEPS, Case, sd
from tests.models.seen import made, seen, state

ALL = {"scale": 1.5, "alpha": 1.25, "temperature": 0.7, "rescale": 0.6}


def test_these_are_all_settings_that_a_pipeline_can_have() -> None:
    here = {"enabled", *ALL, "start", "end", "schedule", "layers", "target"}
    assert set(TABLE) - NOT_HERE == here


@pytest.mark.parametrize("case", [SD, FLUX, SANA], ids=lambda case: case.name)
@pytest.mark.parametrize("settings", [*({name: value} for name, value in ALL.items()), ALL], ids=",".join)
def test_a_number_is_that_of_the_formula(case: Case, settings: dict[str, float]) -> None:
    pipe = case.pipe()
    usual = seen(case, pipe, {})
    found = seen(case, pipe, settings)
    assert found.error <= 2e-5 * max(1.0, found.size)
    assert found.applied.report.passes[0].calls_blended == case.layers * STEPS * case.network_calls
    assert not torch.equal(found.out, usual.out)


def test_pladis_scale_is_the_scale() -> None:
    pipe = sd()
    on, applied = made(pipe, SD, {"pladis_scale": 1.25})
    assert torch.equal(on, made(pipe, SD, {"scale": 1.25})[0])
    assert applied.settings.scale == applied.report.settings["scale"] == applied.report.passes[0].scale == 1.25


@pytest.mark.parametrize(
    "settings",
    [{"enabled": False}, {"scale": 0.0}, {"alpha": 1.0}, {"start": 0.5, "end": 0.5}, {"start": 0.9, "end": 0.1}],
)
def test_off_installs_nothing_and_is_bit_identical(settings: dict[str, Any]) -> None:
    pipe = sd()
    off, before = SD.run(pipe), layers_state(pipe)
    states: list[dict[str, Any]] = []

    def look(pipe: Any, *_: Any) -> dict[str, Any]:
        states.append(layers_state(pipe))
        return {}

    on, applied = made(pipe, SD, settings, callback_on_step_end=look)
    assert torch.equal(on, off)
    assert states == [before] * STEPS
    assert "not applied" in str(applied.report)


def layers_state(pipe: Any) -> dict[str, Any]:
    """Of all that is inside the pipeline's models."""
    return {name: value for name, value in state(pipe).items() if name not in ("", "unet.")}


def test_only_selected_layers_are_blended_and_hooked() -> None:
    pipe = sd()
    with apply_pladis(pipe, layers="m0,u") as applied:
        SD.run(pipe)
    (done,) = applied.report.passes
    assert done.layers_hooked == ["m0.0", "u0.0", "u1.0"]
    assert done.calls_blended == done.calls_seen == 3 * STEPS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": None}, "PLADIS Scale (λ) (scale): got None, allowed: a number from 0 to 5"),
        ({"alpha": "1.5"}, "PLADIS Sparsity (α) (alpha): got the text '1.5', allowed: a number from 1 to 2"),
        ({"target": "all"}, "got 'all', allowed: one of 'both', 'positive', 'negative'"),
        ({"pladis_scale": 9}, "PLADIS Scale (λ) (scale): got 9, allowed: a number from 0 to 5"),
        ({"scale": 9}, "PLADIS Scale (λ) (scale): got 9, allowed: a number from 0 to 5"),
        ({"pladis_scale": 1.5, "scale": 1.5}, "scale and pladis_scale are one setting"),
        ({"lamda": 1.0}, "unknown setting 'lamda', allowed: enabled, scale"),
        ({"look": True}, "look: for web UIs only, allowed: enabled, scale"),
        ({"layers": "q"}, "got 'q' in 'q'"),
        ({"backend": "fast"}, "got 'fast'"),
    ],
)
def test_bad_values_are_named_at_once(settings: dict[str, Any], message: str) -> None:
    pipe = sd()
    before = state(pipe)
    with pytest.raises(ValueError, match=r".") as error:
        apply_pladis(pipe, **settings)
    assert message in str(error.value)
    assert "backend" in settings or isinstance(error.value, SettingsError)
    assert state(pipe) == before


def test_what_is_no_pipeline_and_what_no_model_has_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="pipe: got int, allowed: a diffusers pipeline"):
        apply_pladis(3)
    pipe = sd()
    on, applied = made(pipe, SD, {"layers": "j0"})
    assert torch.equal(SD.run(pipe), on)
    assert "got 'j0', which names no cross-attention layer of this model; it has d0.0" in str(applied.report)
    assert "which names no cross-attention layer" in caplog.text
