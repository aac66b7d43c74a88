"""X/Y/Z plot: one picture for each combination of values, in a labelled grid."""

import csv
import dataclasses
import re
from collections.abc import Callable
from copy import copy
from io import StringIO
from itertools import chain, product
from typing import Any

import gradio as gr
import modules.scripts as scripts
import modules.shared as shared
import numpy as np
from modules import errors, images, processing, sd_samplers, sd_schedulers
from modules.processing import Processed, process_images
from PIL import Image

NUMBER = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
STEPPED = re.compile(NUMBER + "-" + NUMBER + r"(?:\(\s*([+-]?\d+(?:\.\d*)?)\s*\))?\s*")


def apply_field(field: str) -> Callable[..., None]:
    return lambda p, x, xs: setattr(p, field, x)


def format_value(p: Any, opt: "AxisOption", x: Any) -> str:
    return str(round(x, 8) if isinstance(x, float) else x)


def format_value_add_label(p: Any, opt: "AxisOption", x: Any) -> str:
    return f"{opt.label}: {format_value(p, opt, x)}"


@dataclasses.dataclass
class AxisOption:
    """One thing that can vary: `apply(p, x, xs)` puts a value of `type` into the copy of p for a cell. `prepare` makes
    the texts of its values from what was typed."""

    label: str
    type: Any
    apply: Callable[..., None]
    format_value: Callable[..., Any] = format_value_add_label
    confirm: Callable[..., None] | None = None
    cost: float = 0.0
    choices: Callable[[], list[str]] | None = None
    prepare: Callable[[str], list[str]] | None = None


def one_of(label: str, field: str, names: list[str]) -> AxisOption:
    def confirm(p: Any, xs: list[str]) -> None:
        unknown = [x for x in xs if x not in names]
        if unknown:
            raise RuntimeError(f"{label}: got {', '.join(unknown)}, allowed: {', '.join(names)}")

    return AxisOption(label, str, apply_field(field), format_value, confirm, choices=lambda: names)


axis_options = [
    AxisOption("Nothing", str, lambda p, x, xs: None, lambda p, opt, x: ""),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOption("Hires steps", int, apply_field("hr_second_pass_steps")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    one_of("Sampler", "sampler_name", sd_samplers.visible_sampler_names()),
    one_of("Schedule type", "scheduler", sd_schedulers.schedulers),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Eta", float, apply_field("eta")),
]


def csv_values(text: str) -> list[str]:
    return [x.strip() for x in chain.from_iterable(csv.reader(StringIO(text), skipinitialspace=True))]


def expand(kind: Any, values: list[str]) -> list[Any]:
    """Values of one axis; for numbers also ranges, "1-5" and "1-5 (+2)"."""
    out: list[Any] = []
    for value in values:
        stepped = STEPPED.fullmatch(value) if kind in (int, float) else None
        if stepped:
            low, high, step = (kind(x.replace(" ", "")) for x in stepped.groups(default="1"))
            out += np.arange(low, high + step * (1 if kind is int else 0.5), step).tolist()
        else:
            out.append(value)
    return [kind(x) for x in out]


@dataclasses.dataclass
class Axis:
    opt: AxisOption
    values: list[Any]
    text: str = ""

    def labels(self, p: Any) -> list[str]:
        return [str(self.opt.format_value(p, self.opt, x)) for x in self.values]


class Script(scripts.Script):
    def title(self) -> str:
        return "X/Y/Z plot"

    def ui(self, is_img2img: bool) -> list[Any]:
        controls: list[Any] = []
        self.infotext_fields = []
        labels = [x.label for x in axis_options]
        for name, default in (("X", "Seed"), ("Y", "Nothing"), ("Z", "Nothing")):
            elem_id = self.elem_id(name.lower())
            with gr.Row():
                kind = gr.Dropdown(labels, label=f"{name} type", value=default, type="index", elem_id=f"{elem_id}_type")
                text = gr.Textbox(label=f"{name} values", lines=1, elem_id=f"{elem_id}_values")
            controls += [kind, text]
            self.infotext_fields += [(kind, f"{name} Type"), (text, f"{name} Values")]
        with gr.Row(variant="compact", elem_id="axis_options"):
            controls += [gr.Checkbox(True, label="Draw legend"), gr.Checkbox(False, label="Include Sub Images")]
        return controls

    def axis(self, p: Any, index: int | None, text: str) -> Axis:
        """One axis with its values. Raises whatever its values are refused with."""
        opt = axis_options[index or 0]
        if opt.label == "Nothing":
            return Axis(opt, [0])
        values = expand(opt.type, (opt.prepare or csv_values)(text))
        if not values:
            raise RuntimeError(f"the axis {opt.label} of the X/Y/Z plot has no values")
        if opt.confirm:
            opt.confirm(p, values)
        return Axis(opt, values, text)

    def run(self, p: Any, *args: Any) -> Processed:
        *fields, draw_legend, include_lone_images = args
        processing.fix_seed(p)
        x, y, z = axes = [self.axis(p, fields[i], fields[i + 1]) for i in (0, 2, 4)]
        keys = list(product(*(range(len(axis.values)) for axis in (z, y, x))))
        shared.state.job_count = len(keys) * p.n_iter
        cells: dict[tuple[int, ...], Processed] = {}
        info = ""
        for number, key in enumerate(keys):
            if shared.state.interrupted:
                break
            shared.state.job = f"{number + 1} out of {len(keys)}"
            pc = copy(p)  # shallow: extra_generation_params is shared between cells, as in the webui
            try:
                for axis, i in zip((z, y, x), key):
                    axis.opt.apply(pc, axis.values[i], axis.values)
                cells[key] = process_images(pc)
            except Exception:  # noqa: BLE001
                errors.report(f"Error in cell {number + 1} of the X/Y/Z plot", exc_info=True)
                continue
            info = info or self.infotext(pc, axes)
        if not cells:
            return Processed(p, [], p.seed, "")

        result = copy(next(iter(cells.values())))
        blank = Image.new("RGB", result.images[0].size)
        pictures = [cells[key].images[0] if key in cells else blank for key in keys]
        grids = []
        area = len(x.values) * len(y.values)
        for start in range(0, len(keys), area):
            grid = images.image_grid(pictures[start : start + area], rows=len(y.values))
            grids.append(images.label_grid(grid, x.labels(p), y.labels(p)) if draw_legend else grid)
        main = images.image_grid(grids, rows=1)
        if draw_legend and len(grids) > 1:
            main = images.label_grid(main, z.labels(p), [""])
        main.info["parameters"] = result.info = info
        result.images, result.infotexts, result.index_of_first_image = [main], [info], 1
        if include_lone_images:
            result.images += pictures
            result.infotexts += [cells[key].infotexts[0] if key in cells else "" for key in keys]
        return result

    def infotext(self, p: Any, axes: list[Axis]) -> str:
        """The grid's: that of its first cell, and the axes."""
        pg = copy(p)
        pg.extra_generation_params = {**p.extra_generation_params, "Script": self.title()}
        for name, axis in zip("XYZ", axes):
            if axis.text:
                pg.extra_generation_params |= {f"{name} Type": axis.opt.label, f"{name} Values": axis.text}
        return processing.create_infotext(pg, pg.all_prompts, pg.all_seeds, pg.all_subseeds)
