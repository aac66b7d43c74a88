"""X/Y/Z plots through the API."""

from __future__ import annotations

from typing import Any

from tests.acceptance.webui import Picture, WebUI


def axis(ui: WebUI, label: str) -> int:
    """Position of an axis in the host's list, as the API wants it."""
    (info,) = [s for s in ui.request("/sdapi/v1/script-info") if s["name"] == "x/y/z plot" and not s["is_img2img"]]
    choices = [c[0] if isinstance(c, list) else c for c in info["args"][0]["choices"]]
    return choices.index(label)


def grid(
    ui: WebUI, x: tuple[str, str], y: tuple[str, str] = ("Nothing", ""), args: Any = None, **fields: Any
) -> Picture:
    """A grid through the API; cells are asked for one by one as "lone images"."""
    (info,) = [s for s in ui.request("/sdapi/v1/script-info") if s["name"] == "x/y/z plot" and not s["is_img2img"]]
    script_args = [a["value"] for a in info["args"]]
    labels = [a["label"] for a in info["args"]]
    for name, value in (
        ("X type", axis(ui, x[0])), ("X values", x[1]), ("Y type", axis(ui, y[0])), ("Y values", y[1]),
        ("Z type", axis(ui, "Nothing")), ("Include Sub Images", True), ("Use text inputs instead of dropdowns", True),
    ):  # fmt: skip
        if name in labels:
            script_args[labels.index(name)] = value
    return ui.txt2img(args, script_name="x/y/z plot", script_args=script_args, **fields)
