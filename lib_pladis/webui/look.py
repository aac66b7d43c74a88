"""Look inside: heat maps of where each word's attention went, and the API's data about it."""

from __future__ import annotations

import functools
import operator
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from lib_pladis.run.probe import KINDS, STEPS, LayerSums, Maps, Pass, Probe, Prompts
from lib_pladis.settings import Settings, SettingsError
from lib_pladis.webui import heat, result, tokens
from lib_pladis.webui.frame import WHOLE, Frame, cut, frame_of

MOST_PICTURES = 16
"""Number of pictures of one generation that are looked at."""

ALL = "all"


class Look:
    """The look at one generation. `name` can't be guessed: only a client that got the pictures knows it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = secrets.token_urlsafe(16)
        self.named = tokens.names_in(self.settings.look_words)
        self.words: tuple[str, ...] = ()
        self.problems: list[str] = []
        self.places: list[int] = []
        """The index of each picture among the images."""
        self.sheets: list[int | None] = []
        """The index of its sheet."""
        self._sizes: list[tuple[int, int]] = []
        self._frames: dict[str, Frame] = {}
        self._probes: list[tuple[int, Probe]] = []  # with the number of the first picture

    def begin_batch(self, p: Any) -> Probe | None:
        """The probe for the batch that begins; None, with a message, if nothing can be looked at."""
        first = getattr(p, "iteration", 0) * p.batch_size
        if first >= MOST_PICTURES:
            self._problem(f"only the first {MOST_PICTURES} pictures are looked at")
            return None
        prompts, every = self._prompts(p)
        if not self._probes:
            self.words = self._words(every)
        probe = Probe(self.words, prompts)
        self._probes.append((first, probe))
        return probe

    def finish(self, p: Any, processed: Any, places: Sequence[int]) -> str:
        """Append a sheet for each picture to the result of `p`. Returns what it cost. places: indices of the pictures,
        in order."""
        self.places = list(places)[:MOST_PICTURES]
        pictures = [processed.images[place] for place in self.places]
        self._sizes = [picture.size for picture in pictures]
        for reason, count in self._why_not().items():
            self._problem(reason + (f" ({count} times)" if count > 1 else ""))
        for _, probe in self._probes:
            probe.to_cpu()
        stages = self._stages()
        self._frames = {stage: frame_of(p, stage == "hires") for stage in stages}
        processed.infotexts = result.texts(processed)
        for number, picture in enumerate(pictures):
            found = self._maps(stages[-1], number, ALL, ALL) if stages else None
            self.sheets.append(None)
            if found is not None and bool(found[1].any()):
                self.sheets[-1] = len(processed.images)
                box = self._frames[stages[-1]].box
                processed.infotexts.append(processed.infotexts[self.places[number]])
                sheet = heat.sheet(picture.convert("RGB"), self.words, found[0], found[1], box)
                processed.images = [*processed.images, sheet]
        cost = f"{self.seconds:.1f} s, {sum(probe.calls for _, probe in self._probes)} attention maps"
        return f"PLADIS: look inside took {cost}"

    @property
    def notice(self) -> str:
        """A message for the user about what could not be looked at; "" if there is nothing to say."""
        return "\n".join(f"PLADIS: look inside: {problem}" for problem in self.problems)

    @property
    def seconds(self) -> float:
        """What the look cost."""
        return sum(probe.seconds for _, probe in self._probes)

    def as_dict(self, stage: str = "", steps: str = ALL, layers: str = ALL, own_scale: bool = False) -> dict[str, Any]:
        """The maps in plain JSON types, pictures as data URLs.

        stage: "first" or "hires"; the last one by default. steps: "all" or one of `STEPS`. layers: "all", or a side.
        own_scale: each of a word's two maps is scaled by its own maximum, not by that of both. Raises SettingsError if
        there is no such part.
        """
        stages, sides = self._stages(), self._sides()
        stage = stage or (stages[-1] if stages else "first")
        for name, value, allowed in (
            ("stage", stage, stages or ["first"]), ("steps", steps, [ALL, *STEPS]), ("layers", layers, [ALL, *sides]),
        ):  # fmt: skip
            if value not in allowed:
                raise SettingsError(f"PLADIS look {name}: got {value!r}, allowed: {', '.join(allowed)}")
        return {
            "words": list(self.words),
            "problems": self.problems,
            "seconds": round(self.seconds, 3),
            "stages": stages,
            "steps": [ALL, *STEPS],
            "layers": [ALL, *sides],
            "shown": {
                "stage": stage,
                "steps": steps,
                "layers": layers,
                "own_scale": own_scale,
                "mix": self._mix(stage == "hires"),
            },
            "pictures": [self._picture(number, stage, steps, layers, own_scale) for number in range(len(self.places))],
            "table": self._table(stage, steps, layers),
        }

    def _picture(self, number: int, stage: str, steps: str, layers: str, own_scale: bool) -> dict[str, Any]:
        found = self._maps(stage, number, steps, layers)
        words = []
        if found is not None:
            maps, seen = found
            had = [i for i in range(len(self.words)) if seen[i] > 0]
            words = [
                {"word": self.words[i], **heat.pair(maps[:, i], own_scale), "there": _there(maps[:, had], maps[0, i])}
                for i in had
            ]
        return {
            "image": self.places[number],
            "size": list(self._sizes[number]),
            "box": list(self._frames.get(stage, WHOLE).box),
            "words": words,
        }

    def _mix(self, hires: bool) -> dict[str, Any]:
        """What the pass did to each attention: λ (before the schedule, which is named), α, temperature and φ."""
        mix = self.settings.mix(hires)
        names = ("scale", "alpha", "temperature", "rescale")
        return {**{name: getattr(mix, name) for name in names}, "schedule": self.settings.schedule}

    def _table(self, stage: str, steps: str, layers: str) -> list[dict[str, Any]]:
        rows: dict[Any, list[LayerSums]] = {}
        for _, probe in self._probes:
            for (third, layer), sums in getattr(probe.passes.get(stage), "layers", {}).items():
                if steps in (ALL, third) and layers in (ALL, layer.side):
                    rows.setdefault(layer, []).append(sums)
        return [_row(str(layer), sums) for layer, sums in sorted(rows.items(), key=lambda row: _order(row[0]))]

    def _maps(self, stage: str, number: int, steps: str, layers: str) -> tuple[Any, Any] | None:
        """Mean maps (2, words, h, w) and rows seen (words,) of a picture; None if nothing was seen."""
        parts: list[Maps] = []
        for first, probe in self._probes:
            maps = getattr(probe.passes.get(stage), "maps", {})
            parts += [
                each
                for (picture, third, side), each in maps.items()
                if first + picture == number and steps in (ALL, third) and layers in (ALL, side)
            ]
        if not parts:
            return None
        total = functools.reduce(operator.add, parts)
        return cut(_numbers(total.mean), self._frames[stage].part), total.seen

    def _stages(self) -> list[str]:
        found = {stage for _, probe in self._probes for stage in probe.passes}
        return [stage for stage in ("first", "hires") if stage in found]

    def _sides(self) -> list[str]:
        passes: list[Pass] = [each for _, probe in self._probes for each in probe.passes.values()]
        layers = sorted({layer for each in passes for _, layer in each.layers}, key=_order)
        return list(dict.fromkeys(layer.side for layer in layers))

    def _prompts(self, p: Any) -> tuple[Callable[[int, bool], Prompts], list[tokens.Tokens]]:
        """The columns of the batch's prompts by step and pass, and the tokens of everything that they contain
        at any step; without words if the tokenizer can't be reached."""
        try:
            engine = tokens.tokenizer_of(p.sd_model)
        except tokens.NoTokenizer as error:
            self._problem(f"{error}: name columns by their numbers, such as #1-3")
            engine = None
        cut = functools.cache(lambda text: tokens.tokens_of(engine, text) if engine else tokens.Tokens((), ()))
        columns = functools.cache(lambda text: cut(text).columns(self.words))
        steps = getattr(p, "firstpass_steps", None) or p.steps
        again = (getattr(p, "hr_second_pass_steps", 0) or p.steps) * getattr(p, "step_multiplier", 1)

        @functools.cache
        def parts(hires: bool) -> Any:
            prompts = (getattr(p, "hr_prompts", None) if hires else None) or p.prompts
            return tokens.prompt_parts(prompts, steps, again if hires else None)

        def prompts(index: int, hires: bool) -> Prompts:
            return [
                [columns(next((text for end, text in part if index <= end), part[-1][1])) for part in prompt]
                for prompt in parts(hires)
            ]

        passes = (False, True) if getattr(p, "enable_hr", False) else (False,)
        every = [cut(text) for hires in passes for prompt in parts(hires) for part in prompt for _, text in part]
        return prompts, every

    def _words(self, every: list[tokens.Tokens]) -> tuple[str, ...]:
        """Those that are looked for: the named ones that the prompts have, or all that the prompts have."""
        if self.named:
            found = [name for name in self.named if any(prompt.find(name) for prompt in every)]
            for name in self.named:
                if name not in found:
                    self._problem(f'"{name}" is not in the prompt')
        else:
            found = list(dict.fromkeys(word for prompt in every for word in prompt.content))
        if len(found) > tokens.MOST_WORDS:
            what = "names are looked for" if self.named else "words are looked for: name others"
            self._problem(f"only the first {tokens.MOST_WORDS} of {len(found)} {what}")
        return tuple(found[: tokens.MOST_WORDS])

    def _why_not(self) -> dict[str, int]:
        reasons: dict[str, int] = {}
        seen = [sums for _, probe in self._probes for each in probe.passes.values() for sums in each.layers.values()]
        if any(not sums.by_kind.isfinite().all() for sums in seen):
            reasons["the model's attention was not a number (NaN) somewhere: it is shown as 0"] = 1
        for _, probe in self._probes:
            for reason, count in probe.why_not.items():
                reasons[reason] = reasons.get(reason, 0) + count
        if not reasons and not any(probe.calls for _, probe in self._probes):
            reasons["no blended attention of the prompt was seen"] = 1
        return reasons

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def _there(maps: Any, word: Any) -> dict[str, list[float]]:
    """From maps (2, words, h, w): the weights of all words, plain and with PLADIS, before any rescaling, at the point
    where `word` (h, w) is largest."""
    plain, blended = maps.flatten(2)[:, :, int(word.argmax())].tolist()
    return {"plain": plain, "pladis": blended}


def _row(name: str, parts: list[LayerSums]) -> dict[str, Any]:
    calls = sum(part.calls for part in parts)
    by_kind = _mean([part.by_kind for part in parts], calls)
    kept, dense, sparse = _mean([part.by_row for part in parts], calls)
    plain, blended = (dict(zip(KINDS, each)) for each in by_kind)
    return {
        "layer": name,
        "keys": max(part.keys for part in parts),
        "keys_kept": kept,
        "plain": plain,
        "pladis": blended,
        "entropy_plain": dense,
        "entropy_sparse": sparse,
        "calls": calls,
    }


def _mean(sums: Sequence[Any], calls: int) -> Any:
    total = functools.reduce(operator.add, [each.cpu().double() for each in sums])
    return _numbers(total / calls).tolist()


def _numbers(tensor: Any) -> Any:
    """Replace NaN and infinities by 0; neither colours nor JSON have them."""
    return tensor.nan_to_num(0.0, 0.0, 0.0)


def _order(layer: Any) -> tuple[int, Any]:
    """Sort key for layers in the order in which they run: down, middle, up; others by name."""
    return "dmu".find(layer.side), layer
