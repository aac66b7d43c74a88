"""Which preset is suggested, and what the host is asked for it."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest

from lib_pladis.presets import BUILT_IN
from lib_pladis.suggestion import (
    NO_FIGURES,
    NOT_LOADED,
    OWN,
    OWN_OFF,
    OWN_SO_FAR,
    RULES,
    UNKNOWN,
    Model,
    Own,
    suggest,
)
from lib_pladis.webui import model as host


@pytest.mark.parametrize(
    ("family", "name", "cfg", "about", "preset"),
    [
        ("sdxl", "sd_xl_base_1.0", 7, "SDXL, CFG 7", "Official code"),
        ("sdxl", "sd_xl_base_1.0", 1, "SDXL, CFG 1", "Official code"),
        ("sdxl", "sd_xl_turbo_1.0_fp16", 1, "SDXL, CFG 1", "Official code"),
        ("sdxl", "sdxl_lightning_4step", 1.5, "SDXL, CFG 1.5", "Official code"),
        ("sd1", "v1-5-pruned-emaonly", 7.5, "SD1, CFG 7.5", ""),
        ("sd2", "v2-1_768", 1.5, "SD2, CFG 1.5", ""),
        ("sd1", "Hyper-SD15-8steps", 1, "SD1, CFG 1", ""),
        ("sdxl", "ponyDiffusionV6XL", 7, "SDXL, CFG 7", "Tag-based"),
        ("sdxl", "Illustrious-XL-v1.0", 5, "SDXL, CFG 5", "Tag-based"),
        ("sdxl", "ponyRealism_lightning", 2, "SDXL, CFG 2", "Tag-based"),
        ("sd1", "anything-v5", 1, "SD1, CFG 1", "Tag-based"),
        ("sd1", "pladis-playground", 7, "SD1, CFG 7", "Steady"),
        ("sd1", "pladis-playground", 1, "SD1, CFG 1", "No guidance"),
        ("sd1", "pladis-playground-4step", 1, "SD1, CFG 1", "Few steps"),
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
    assert found.why == NO_FIGURES if not preset else found.why in {r.why for r in RULES if r.preset == preset}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("few steps", ["sdxl_lightning_4step", "dreamshaperXL_LCM", "Hyper-SD15-8steps", "hyper-realism_Hyper",
                       "model_8-step", "distilled-v2", "flux1-schnell"]),
        ("tags", ["ponyDiffusionV6XL", "noobaiXL", "ponyRealism_lightning"]),
        ("", ["hyperRealism_v3", "model-500000steps", "my_steps", "sd_xl_base_1.0"]),
        ("studied", ["pladis-playground"]),
        ("studied few steps", ["pladis-playground-4step"]),
    ],
)  # fmt: skip
def test_what_a_name_tells(kind: str, names: list[str]) -> None:
    assert [Model("sdxl", name).kind for name in names] == [kind] * len(names)


def test_a_model_that_is_not_loaded_gets_none() -> None:
    found = suggest(Model(NOT_LOADED, "sd_xl_turbo"), 1)
    assert (found.about, found.preset, found.why) == ("sd_xl_turbo", "", UNKNOWN)


def test_every_rule_names_a_built_in_preset_and_can_hold() -> None:
    names = ("turbo", "pony", "pladis-playground", "pladis-playground-4step", "other")
    held = {suggest(Model(family, name), cfg).why for family in ("sdxl", "flux") for name in names for cfg in (1, 7)}
    for rule in RULES:
        assert rule.preset in BUILT_IN and rule.why in held, rule


def test_the_persons_own_votes_go_before_all_that_is_published() -> None:
    def own(name: str, share: float, clear: bool) -> Own:
        return Own(name, {"scale": share}, share, clear, [(f"{name} {{share}}", {"share": share})])

    model = Model("sdxl", "sd_xl_base_1.0")
    won = own("Steady", 0.8, True)
    found = suggest(model, 7, [own("Paper", 0.9, False), won, own("Tag-based", 0.7, True)])
    assert (found.about, found.preset, found.why, found.own) == ("SDXL, CFG 7", "Steady", OWN, won)
    assert found.said == won.said
    lost = suggest(model, 7, [own("Paper", 0.1, True)])
    assert (lost.preset, lost.why, lost.own) == ("", OWN_OFF, None)
    open_yet = suggest(model, 7, [own("Paper", 0.6, False)])
    assert open_yet.preset == "Official code" and open_yet.own is None
    assert [text for text, _ in open_yet.said] == [OWN_SO_FAR, "Paper {share}"]
    assert suggest(Model(NOT_LOADED, "m"), 7, [won]).preset == "Steady"


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
