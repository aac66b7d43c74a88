"""Settings: `OptionInfo` describes one, `Options` holds their values (in memory only)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass
class OptionInfo:
    default: Any = None
    label: str = ""
    component: Any = None
    component_args: Any = None
    onchange: Callable[[], None] | None = None
    section: tuple[str | None, str] | None = None
    refresh: Any = None
    comment_before: str = ""
    comment_after: str = ""
    infotext: str | None = None
    restrict_api: bool = False

    def info(self, text: str) -> OptionInfo:
        self.comment_after += f"({text})"
        return self


def options_section(section: tuple[str | None, str], options: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    return {key: dataclasses.replace(option, section=section) for key, option in options.items()}


class Options:
    """Values read and written as attributes; unknown names raise AttributeError."""

    def __init__(self, data_labels: dict[str, OptionInfo]) -> None:
        vars(self).update(data_labels=data_labels, data={k: v.default for k, v in data_labels.items()})

    def __getattr__(self, key: str) -> Any:
        if key not in vars(self).get("data", {}):
            raise AttributeError(f"no such option: {key}")
        return self.data[key]

    def __setattr__(self, key: str, value: Any) -> None:
        getattr(self, key)
        self.data[key] = value

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
