"""Which preset is suggested, and what the host is asked for it."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.presets import BUILT_IN
from lib_pladis.suggestion import FLUX, NO_FIGURES, NOT_LOADED, RULES, UNKNOWN, Model, suggest
from lib_pladis.webui import model as host


@pytest.mark.parametrize(
    ("family", "name", "cfg", "about", "preset"),
    [
        ("sdxl", "sd_xl_base_1.0", 7, "SDXL, CFG 7", "Steady"),
        ("sd1", "v1-5-pruned-emaonly", 7.5, "SD1, CFG 7.5", "Steady"),
        ("sd2", "v2-1_768", 1.5, "SD2, CFG 1.5", "Steady"),
        ("sdxl", "sd_xl_base_1.0", 1, "SDXL, CFG 1", "Few steps"),
        ("sdxl", "sd_xl_turbo_1.0_fp16", 1, "SDXL, CFG 1", "Few steps"),
        ("sdxl", "sdxl_lightning_4step", 1.5, "SDXL, CFG 1.5", "Few steps"),
        ("sdxl", "dreamshaperXL_LCM", 2, "SDXL, CFG 2", "Few steps"),
        ("sd1", "Hyper-SD15-8steps", 1, "SD1, CFG 1", "Few steps"),
        ("sd1", "hyperRealism_v3", 7, "SD1, CFG 7", "Steady"),
        ("sdxl", "hyper-realism_Hyper", 2, "SDXL, CFG 2", "Few steps"),
        ("sd1", "model_8-step", 2, "SD1, CFG 2", "Few steps"),
        ("sd1", "distilled-v2", 2, "SD1, CFG 2", "Few steps"),
        ("sdxl", "ponyDiffusionV6XL", 7, "SDXL, CFG 7", "Tag-based"),
        ("sdxl", "Illustrious-XL-v1.0", 5, "SDXL, CFG 5", "Tag-based"),
        ("sdxl", "ponyRealism_lightning", 2, "SDXL, CFG 2", "Few steps"),
        ("sdxl", "noobaiXL", 1, "SDXL, CFG 1", "Few steps"),
        ("sd1", "pladis-playground", 7, "SD1, CFG 7", "Steady"),
        ("sd1", "pladis-playground", 1, "SD1, CFG 1", "No guidance"),
        ("sd1", "pladis-playground-4step", 1, "SD1, CFG 1", "Few steps"),
        ("sd1", "model-500000steps", 7, "SD1, CFG 7", "Steady"),
        ("sd1", "my_steps", 7, "SD1, CFG 7", "Steady"),
        ("flux", "flux1-schnell", 1, "Flux, CFG 1", "Paper"),
        ("flux", "flux1-dev", 3.5, "Flux, CFG 3.5", "Paper"),
        ("Flux2", "flux-2-klein-4b", 1, "Flux2, CFG 1", ""),
        ("sd3", "sd3.5_large", 5, "SD3, CFG 5", ""),
        ("QwenImage", "qwen-image", 4, "QwenImage, CFG 4", ""),
    ],
)
def test_the_preset_by_model_and_cfg(family: Any, name: Any, cfg: Any, about: Any, preset: Any) -> None:
    found = suggest(Model(family, name), cfg)
    assert (found.about, found.preset) == (about, preset)
    assert (
        found.why == NO_FIGURES
        if not preset
        else found.why in {rule.why for rule in (*RULES, FLUX) if rule.preset == preset}
    )


def test_a_model_that_is_not_loaded_gets_none() -> None:
    found = suggest(Model(NOT_LOADED, "sd_xl_turbo"), 1)
    assert (found.about, found.preset, found.why) == ("sd_xl_turbo", "", UNKNOWN)


def test_every_rule_names_a_built_in_preset_and_can_hold() -> None:
    models = [Model("sd1", name) for name in ("turbo", "pony", "pladis-playground", "other")]
    held = {suggest(model, cfg).why for model in models for cfg in (1, 7)}
    for rule in RULES:
        assert rule.preset in BUILT_IN and rule.why in held, rule


def asked(monkeypatch: pytest.MonkeyPatch, chosen: str, model: Any, model_data: bool = True) -> Model:
    """What is made of a host with this checkpoint chosen and this model in memory."""
    modules: Any = types.ModuleType("modules")
    shared: Any = types.ModuleType("modules.shared")
    sd_models: Any = types.ModuleType("modules.sd_models")
    modules.shared, modules.sd_models = shared, sd_models
    shared.opts = SimpleNamespace(data={"sd_model_checkpoint": chosen})
    if model_data:
        sd_models.model_data = SimpleNamespace(sd_model=model)
    else:
        shared.sd_model = model
    for each in (modules, shared, sd_models):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return host.in_use()


def loaded(title: str, **flags: bool) -> Any:
    return SimpleNamespace(sd_checkpoint_info=SimpleNamespace(title=title, name=title.split(" [")[0]), **flags)


class Flux:
    sd_checkpoint_info = SimpleNamespace(title="f.safetensors", name="f.safetensors")
    is_sd1 = is_sd2 = is_sdxl = is_sd3 = False


class QwenImage(Flux):
    pass


@pytest.mark.parametrize("model_data", [True, False], ids=["model_data", "shared.sd_model"])
def test_the_hosts_word(monkeypatch: pytest.MonkeyPatch, model_data: Any) -> None:
    a1111 = loaded("xl/base.safetensors [0123abcdef]", is_sd1=False, is_sdxl=True)
    for chosen in ("xl/base.safetensors [0123abcdef]", "xl/base.safetensors", "base", "xl\\base.safetensors"):
        assert asked(monkeypatch, chosen, a1111, model_data) == Model("sdxl", "base")
    assert asked(monkeypatch, "f.safetensors", Flux(), model_data) == Model("flux", "f")
    assert asked(monkeypatch, "f.safetensors", QwenImage(), model_data) == Model("QwenImage", "f")
    assert asked(monkeypatch, "v1.5.ckpt", loaded("v1.5.ckpt", is_sd1=True), model_data) == Model("sd1", "v1.5")


@pytest.mark.parametrize("model", [None, SimpleNamespace(), loaded("other.ckpt", is_sd1=True)])
def test_a_host_that_has_not_loaded_it(monkeypatch: pytest.MonkeyPatch, model: Any) -> None:
    assert asked(monkeypatch, "base.safetensors [0123abcdef]", model) == Model(NOT_LOADED, "base")
