"""Global callbacks: extensions register with `on_*`, the host fires with `*_callback`.

Every callback runs in its own try/except; what it raises is printed and the host goes on.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


ScriptCallback = namedtuple("ScriptCallback", ["script", "callback", "name"])
CATEGORIES = (
    "app_started",  # (demo: gr.Blocks, app: FastAPI), once the server is up
    "before_ui",  # (), before the page is made
    "ui_settings",  # (), before the settings tab is made: the place for shared.opts.add_option
    "ui_tabs",  # () -> [(gr.Blocks, title, elem_id), ...]
    "infotext_pasted",  # (infotext: str, params: dict), which may be changed
    "model_loaded",  # (sd_model)
    "script_unloaded",  # ()
    "cfg_denoiser", "cfg_denoised", "cfg_after_cfg",  # (one of the above)
)  # fmt: skip
"""What there is: each becomes `on_<name>(callback, *, name=None)` and `<name>_callback(...)`."""

callback_map: dict[str, list[ScriptCallback]] = {f"callbacks_{x}": [] for x in CATEGORIES}


def clear_callbacks() -> None:
    for callbacks in callback_map.values():
        callbacks.clear()


def _on(category: str) -> Callable[..., None]:
    def on(callback: Callable[..., Any], *, name: str | None = None) -> None:
        script = next((x.filename for x in inspect.stack() if x.filename != __file__), "unknown file")
        callback_map[f"callbacks_{category}"].append(ScriptCallback(script, callback, name or category))

    return on


def _fire(category: str) -> Callable[..., list[Any]]:
    """Calls everything registered; gives the results, without those that raised."""

    def fire(*args: Any, **kwargs: Any) -> list[Any]:
        results = []
        for c in list(callback_map[f"callbacks_{category}"]):
            try:
                results.append(c.callback(*args, **kwargs))
            except Exception:  # noqa: BLE001
                errors.report(f"Error executing callback {category}_callback for {c.script}", exc_info=True)
        return results

    return fire


for _category in CATEGORIES:
    globals()[f"on_{_category}"] = _on(_category)
    globals()[f"{_category}_callback"] = _fire(_category)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
