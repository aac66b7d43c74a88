"""Global callbacks: extensions register with `on_*`, the host fires with `*_callback`.

Every callback runs in its own try/except; what it raises is printed and the host goes on.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from modules import errors


@dataclasses.dataclass
class CFGDenoiserParams:
    """One denoiser call, before it. Rows of `x` (N, 4, h, w): the positives first, the negatives last.
    `sigma` (N,); `text_cond`, `text_uncond` (n, tokens, width). Fields may be replaced."""

    x: Tensor
    image_cond: Tensor
    sigma: Tensor
    sampling_step: int
    total_sampling_steps: int
    text_cond: Tensor
    text_uncond: Tensor
    denoiser: Any = None


@dataclasses.dataclass
class CFGDenoisedParams:
    """The same call, after the network and before guidance."""

    x: Tensor
    sampling_step: int
    total_sampling_steps: int
    inner_model: Any


@dataclasses.dataclass
class AfterCFGCallbackParams:
    """The same call, after guidance; `x` (B, 4, h, w)."""

    x: Tensor
    sampling_step: int
    total_sampling_steps: int


@dataclasses.dataclass
class ScriptCallback:
    script: str
    callback: Callable[..., Any]
    name: str = "unnamed"


CATEGORIES = (
    "app_started", "model_loaded", "ui_tabs", "ui_settings", "cfg_denoiser", "cfg_denoised", "cfg_after_cfg",
    "before_component", "after_component", "infotext_pasted", "script_unloaded", "before_ui",
)  # fmt: skip
callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{x}": [] for x in CATEGORIES}


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def _caller() -> str:
    return next((x.filename for x in inspect.stack() if x.filename != __file__), "unknown file")


def _add(category: str, callback: Callable[..., Any], name: str | None) -> None:
    callback_map[f"callbacks_{category}"].append(ScriptCallback(_caller(), callback, name or category))


def _fire(category: str, *args: Any, job: str | None = None, **kwargs: Any) -> list[Any]:
    """Call everything registered under `category`; the results, without those that raised."""
    results = []
    for c in list(callback_map[f"callbacks_{category}"]):
        try:
            results.append(c.callback(*args, **kwargs))
        except Exception:  # noqa: BLE001
            errors.report(f"Error executing callback {job or category + '_callback'} for {c.script}", exc_info=True)
    return results


def remove_current_script_callbacks() -> None:
    """Remove every callback that the calling file has registered."""
    script = _caller()
    for callbacks in callback_map.values():
        callbacks[:] = [c for c in callbacks if c.script != script]


def remove_callbacks_for_function(callback_func: Callable[..., Any]) -> None:
    for callbacks in callback_map.values():
        callbacks[:] = [c for c in callbacks if c.callback != callback_func]


def on_app_started(callback: Callable[..., Any], *, name: str | None = None) -> None:
    """`callback(demo: gr.Blocks, app: FastAPI)`, once the server is up."""
    _add("app_started", callback, name)


def on_model_loaded(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("model_loaded", callback, name)


def on_ui_tabs(callback: Callable[..., Any], *, name: str | None = None) -> None:
    """`callback() -> [(gr.Blocks, title, elem_id), ...]`."""
    _add("ui_tabs", callback, name)


def on_ui_settings(callback: Callable[..., Any], *, name: str | None = None) -> None:
    """Before the settings tab is made: the place for `shared.opts.add_option`."""
    _add("ui_settings", callback, name)


def on_cfg_denoiser(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("cfg_denoiser", callback, name)


def on_cfg_denoised(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("cfg_denoised", callback, name)


def on_cfg_after_cfg(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("cfg_after_cfg", callback, name)


def on_before_component(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("before_component", callback, name)


def on_after_component(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("after_component", callback, name)


def on_infotext_pasted(callback: Callable[..., Any], *, name: str | None = None) -> None:
    """`callback(infotext: str, params: dict)`; `params` may be changed."""
    _add("infotext_pasted", callback, name)


def on_script_unloaded(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("script_unloaded", callback, name)


def on_before_ui(callback: Callable[..., Any], *, name: str | None = None) -> None:
    _add("before_ui", callback, name)


def app_started_callback(demo: Any, app: Any) -> None:
    _fire("app_started", demo, app)


def model_loaded_callback(sd_model: Any) -> None:
    _fire("model_loaded", sd_model)


def ui_tabs_callback() -> list[Any]:
    return [tab for tabs in _fire("ui_tabs") for tab in tabs or []]


def ui_settings_callback() -> None:
    _fire("ui_settings")


def cfg_denoiser_callback(params: CFGDenoiserParams) -> None:
    _fire("cfg_denoiser", params)


def cfg_denoised_callback(params: CFGDenoisedParams) -> None:
    _fire("cfg_denoised", params)


def cfg_after_cfg_callback(params: AfterCFGCallbackParams) -> None:
    _fire("cfg_after_cfg", params)


def before_component_callback(component: Any, **kwargs: Any) -> None:
    _fire("before_component", component, **kwargs)


def after_component_callback(component: Any, **kwargs: Any) -> None:
    _fire("after_component", component, **kwargs)


def infotext_pasted_callback(infotext: str, params: dict[str, Any]) -> None:
    _fire("infotext_pasted", infotext, params, job="infotext_pasted")


def script_unloaded_callback() -> None:
    _fire("script_unloaded", job="script_unloaded")


def before_ui_callback() -> None:
    _fire("before_ui", job="before_ui")
