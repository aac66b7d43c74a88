"""Settings: `OptionInfo` describes one, `Options` holds their values (in memory only)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

BUILTIN = {"data_labels", "data", "typemap"}


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: dict[str, Any] | Callable[[], dict[str, Any]] | None = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str | None, str] | None = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default, self.label = default, label
        self.component, self.component_args = component, component_args
        self.onchange, self.section, self.refresh = onchange, section, refresh
        self.comment_before, self.comment_after = comment_before, comment_after
        self.infotext, self.restrict_api, self.category_id = infotext, restrict_api, category_id
        self.do_not_save = False

    def info(self, text: str) -> OptionInfo:
        self.comment_after += f"<span class='info'>({text})</span>"
        return self

    def html(self, text: str) -> OptionInfo:
        self.comment_after += text
        return self

    def link(self, label: str, url: str) -> OptionInfo:
        self.comment_before += f"[<a href='{url}' target='_blank'>{label}</a>]"
        return self

    def needs_restart(self) -> OptionInfo:
        return self.info("requires restart")

    def needs_reload_ui(self) -> OptionInfo:
        return self.info("requires Reload UI")


def options_section(section: tuple[str | None, str], options: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    for option in options.values():
        option.section = section
    return options


class Options:
    """Values read and written as attributes; unknown names raise AttributeError."""

    typemap: ClassVar[dict[type, type]] = {int: float}

    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        self.data_labels = data_labels
        self.data = {k: v.default for k, v in data_labels.items()}

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in BUILTIN and key in self.data_labels:
            self.data[key] = value
        else:
            super().__setattr__(key, value)

    def __getattr__(self, key: str) -> Any:
        if key not in BUILTIN and key in self.data:
            return self.data[key]
        if key not in BUILTIN and key in self.data_labels:
            return self.data_labels[key].default
        raise AttributeError(f"no such option: {key}")

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Set one option and call its `onchange`. Returns whether it changed; unknown keys raise KeyError."""
        option = self.data_labels[key]
        if self.data.get(key) == value or (is_api and option.restrict_api):
            return False
        self.data[key] = value
        if run_callbacks and option.onchange is not None:
            option.onchange()
        return True

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def get_default(self, key: str) -> Any:
        return self.data_labels[key].default if key in self.data_labels else None

    def same_type(self, x: Any, y: Any) -> bool:
        if x is None or y is None:
            return True
        return self.typemap.get(type(x), type(x)) == self.typemap.get(type(y), type(y))

    def cast_value(self, key: str, value: Any) -> Any:
        """`value` (often text from an infotext) as the type of the option's default."""
        default = self.data_labels[key].default
        if value is None or default is None:
            return None
        return False if isinstance(default, bool) and value == "False" else type(default)(value)

    def dumpjson(self) -> str:
        return json.dumps({k: self.data.get(k, v.default) for k, v in self.data_labels.items()}, default=str)
