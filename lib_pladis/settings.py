"""One table of settings, from which panel, infotext, X/Y/Z axes, API schema and documentation are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lib_pladis.math.rule import Mix
from lib_pladis.math.schedule import SCHEDULES
from lib_pladis.models.selection import LayerSelection


class SettingsError(ValueError):
    """A setting has a value that it can't take; the message names setting, value and allowed range.

    `status_code` and `detail` are what the hosts' API looks for in an exception: 422 and the message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.status_code = 422
        self.detail = message


LONGEST_TEXT = 2000

LONGEST_SHOWN = 500
"""Maximum number of characters of a bad value in a message."""


def shortened(value: object) -> str:
    """A value as written in a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    `kind` is "bool", "float", "choice", "layers" or "text"; `row` the name of the panel's row that it shares ("" =
    none; "main" is always seen, the others are under Advanced; "beside" see `beside`).
    """

    name: str
    label: str
    kind: str
    default: Any
    help: str
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 0.0
    choices: tuple[str, ...] = ()
    row: str = ""

    @property
    def beside(self) -> bool:
        """Whether it is what is shown beside a picture, not how it is made: no PNG info, no axis, left as it is by a
        paste and by presets."""
        return self.row == "beside"

    @property
    def axis(self) -> str:
        """The name of the XYZ plot axis after "[PLADIS] "; "" if there is none."""
        return "" if self.beside else self.name.replace("hr_", "hires_").replace("_", " ").capitalize()

    @property
    def title(self) -> str:
        """The label, with PLADIS in it."""
        return self.label if self.label.startswith("PLADIS") else f"PLADIS {self.label}"

    @property
    def infotext(self) -> str:
        """The key in a picture's generation parameters; "" for a switch, which is told from the others."""
        return f"PLADIS {self.axis.lower()}" if self.axis and self.kind != "bool" else ""

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "float":
            return f"a number from {self.minimum:g} to {self.maximum:g}"
        if self.kind == "choice":
            return "one of " + ", ".join(repr(c) for c in self.choices)
        if self.kind == "text":
            return f"a text of at most {LONGEST_TEXT} characters"
        return LayerSelection.allowed

    def parse(self, value: Any) -> Any:
        """`value` as this setting's type. Raises SettingsError for a wrong type or a value out of range."""
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind == "float" and self._in_range(value):
            return float(value)
        if self.kind == "choice" and isinstance(value, str) and value in self.choices:
            return value
        if self.kind == "text" and isinstance(value, str) and len(value) <= LONGEST_TEXT:
            return value.strip()
        if self.kind == "layers" and isinstance(value, str):
            try:
                return str(LayerSelection.parse(value))
            except ValueError as error:
                raise SettingsError(f"{self.title}: {error}") from error
        text = "the text " if isinstance(value, str) and self.kind in ("bool", "float") else ""
        raise SettingsError(f"{self.title} ({self.name}): got {text}{shortened(value)}, allowed: {self.allowed}")

    def _in_range(self, value: Any) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return self.minimum <= value <= self.maximum

    def parse_text(self, text: str) -> Any:
        """A value written as text (infotext, an XYZ axis). Raises SettingsError like `parse`."""
        value: Any = text.strip()
        if self.kind == "float":
            try:
                value = float(value)
            except ValueError:
                pass
        elif self.kind == "bool":
            value = {"true": True, "false": False}.get(value.lower(), value)
        return self.parse(value)

    def format(self, value: Any) -> str:
        """`value` as text that `parse_text` reads back."""
        return f"{value:.10g}" if self.kind == "float" else str(value)


def _setting(default: Any, label: str, kind: str, help: str, **row: Any) -> Any:
    return field(default=default, metadata={"label": label, "kind": kind, "help": help, **row})


def _switch(label: str, help: str, **row: Any) -> Any:
    return _setting(False, label, "bool", help, **row)


def _number(default: float, label: str, limits: tuple[float, float], help: str, **row: Any) -> Any:
    return _setting(default, label, "float", help, minimum=limits[0], maximum=limits[1], step=0.05, **row)


TARGETS = ("both", "positive", "negative")


@dataclass(frozen=True)
class Settings:
    """The settings of one generation. Every instance is valid: a bad value raises SettingsError.

    The order of the fields is the order of the API's positional arguments: append, never reorder.
    """

    enabled: bool = _switch(
        "PLADIS",
        row="main",
        help="Blend sparse into dense cross-attention while sampling.",
    )
    scale: float = _number(
        2.0,
        "Scale (λ)",
        (0.0, 5.0),
        row="main",
        help="Strength of PLADIS: 0 is off, 1 is sparse attention alone, 2 is the paper's value. Lower it if edges get "
        "hard or objects appear twice.",
    )
    alpha: float = _number(
        1.5,
        "Sparsity (α)",
        (1.0, 2.0),
        row="sparse",
        help="How many words each part of the picture ignores: 1 none (softmax), 2 the most (sparsemax). The paper "
        "uses 1.5.",
    )
    start: float = _number(
        0.0,
        "Start",
        (0.0, 1.0),
        row="steps",
        help="PLADIS begins after this share of the steps. A later start leaves the picture's layout unchanged.",
    )
    end: float = _number(
        1.0,
        "End",
        (0.0, 1.0),
        row="steps",
        help="PLADIS stops at this share of the steps. An earlier end leaves fine details unchanged.",
    )
    schedule: str = _setting(
        "constant",
        "λ schedule",
        "choice",
        choices=tuple(SCHEDULES),
        row="whom",
        help="How λ runs from start to end: constant, up from 0, down to 0, or down to 0 along a half cosine.",
    )
    layers: str = _setting(
        "all",
        "Layers",
        "layers",
        row="where",
        help="all, or a list. U-Nets, as d0-d3,m0,u2.1: d = down, m = middle, u = up, numbered among the blocks that "
        "have cross-attention, .n = depth. Flux and its like, as j0-18,s0-37: j = double-stream, s = single-stream "
        "blocks. Anima and Wan, as b0-27.",
    )
    target: str = _setting(
        "both",
        "Apply to",
        "choice",
        choices=TARGETS,
        row="whom",
        help="Apply to both prompts (as in the paper), or to the positive or the negative one only.",
    )
    temperature: float = _number(
        1.0,
        "Sparse temperature",
        (0.1, 2.0),
        row="sparse",
        help="Temperature of the sparse attention only: below 1 ignores more words, above 1 fewer.",
    )
    hr_override: bool = _switch(
        "Override for Hires. fix",
        row="hires",
        help="Use another λ and α in the Hires. fix pass.",
    )
    hr_scale: float = _number(
        2.0,
        "Hires scale (λ)",
        (0.0, 5.0),
        row="hires",
        help="λ in the Hires. fix pass, with the override on.",
    )
    hr_alpha: float = _number(
        1.5,
        "Hires sparsity (α)",
        (1.0, 2.0),
        row="hires",
        help="α in the Hires. fix pass, with the override on.",
    )
    rescale: float = _number(
        0.0,
        "Rescale (φ)",
        (0.0, 1.0),
        row="where",
        help="Scales each attention output towards its norm under plain attention, so that λ changes its direction "
        "but not its strength. 0 is the paper's method, 1 restores the norm.",
    )
    compare: bool = _switch(
        "Compare",
        row="beside",
        help="Also draws the plain picture of the same seed, with a slider between the two. Doubles the time.",
    )
    look: bool = _switch(
        "Look inside",
        row="beside",
        help="Shows on the picture where the attention to each word went, plain and with PLADIS. Takes longer; the "
        "picture does not change.",
    )
    look_words: str = _setting(
        "",
        "Words to look for",
        "text",
        row="beside",
        help="Words or phrases of the prompt, separated by commas; empty for all.",
    )

    def __post_init__(self) -> None:
        for setting in TABLE.values():
            object.__setattr__(self, setting.name, setting.parse(getattr(self, setting.name)))

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Settings:
        """Settings from a script's arguments: positional in table order, or one dict in the first place.

        A short list is filled with defaults, and so is None in any place. A dict is on unless it says otherwise.
        Raises SettingsError, naming every bad value at once.
        """
        if len(args) > len(TABLE):
            raise SettingsError(f"PLADIS: got {len(args)} arguments, allowed: at most {len(TABLE)}")
        by_name = bool(args) and isinstance(args[0], Mapping)
        given = args[0].items() if by_name else zip(TABLE, args)
        return cls.from_dict({"enabled": by_name, **{name: value for name, value in given if value is not None}})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from name: value pairs. Raises SettingsError, naming every bad key and value at once."""
        problems = []
        for name, value in values.items():
            if name not in TABLE:
                problems.append(f"PLADIS: unknown setting {shortened(name)}, allowed: {', '.join(TABLE)}")
                continue
            try:
                TABLE[name].parse(value)
            except SettingsError as error:
                problems.append(str(error))
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**values)

    def mix(self, hires: bool = False) -> Mix:
        """The effect of the first or the Hires. fix pass on an attention, λ before the schedule."""
        scale, alpha = (self.hr_scale, self.hr_alpha) if hires and self.hr_override else (self.scale, self.alpha)
        return Mix(scale, alpha, self.temperature, self.rescale)

    def why_idle(self, hires: bool = False) -> str:
        """Why these settings leave a pass to the host's own attention; "" if they don't."""
        if not self.enabled:
            return "not enabled"
        if self.start >= self.end:
            return self.mix(hires).why_plain or f"start {self.start:g} is not before end {self.end:g}"
        return self.mix(hires).why_plain


TABLE: dict[str, Setting] = {f.name: Setting(name=f.name, default=f.default, **f.metadata) for f in fields(Settings)}

BESIDE = frozenset(name for name, setting in TABLE.items() if setting.beside)
"""Settings of what is shown beside a picture; they are not in its PNG info."""

HIRES = frozenset({"hr_scale", "hr_alpha"})
"""Settings that count only with `hr_override`, in the Hires. fix pass."""


def panel_rows() -> dict[str, list[str]]:
    """The settings by their rows in the panel, in the table's order; a setting without a row has one of its own."""
    rows: dict[str, list[str]] = {}
    for name, setting in TABLE.items():
        rows.setdefault(setting.row or name, []).append(name)
    return rows
