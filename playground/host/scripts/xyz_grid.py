"""X/Y/Z plot: one picture for each combination of values, in a labelled grid."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable
from copy import copy
from io import StringIO
from itertools import chain
from typing import Any

import gradio as gr
import modules.scripts as scripts
import modules.shared as shared
import numpy as np
from modules import errors, images, processing, sd_samplers, sd_schedulers
from modules.processing import Processed, process_images
from modules.ui_components import ToolButton
from PIL import Image

FILL = "\U0001f4d2"
NUMBER = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
STEPPED = re.compile(NUMBER + "-" + NUMBER + r"(?:\(\s*([+-]?\d+(?:\.\d*)?)\s*\))?\s*")
COUNTED = re.compile(NUMBER + "-" + NUMBER + r"\[(\d+)\s*\]\s*")


def apply_field(field: str) -> Callable[..., None]:
    def fun(p: Any, x: Any, xs: list[Any]) -> None:
        setattr(p, field, x)

    return fun


def apply_override(field: str) -> Callable[..., None]:
    def fun(p: Any, x: Any, xs: list[Any]) -> None:
        p.override_settings[field] = x

    return fun


def apply_prompt(p: Any, x: str, xs: list[str]) -> None:
    if xs[0] not in p.prompt and xs[0] not in p.negative_prompt:
        raise RuntimeError(f"Prompt S/R did not find {xs[0]} in prompt or negative prompt.")
    p.prompt, p.negative_prompt = p.prompt.replace(xs[0], x), p.negative_prompt.replace(xs[0], x)


def confirm_samplers(p: Any, xs: list[str]) -> None:
    for x in xs:
        if x.lower() not in sd_samplers.samplers_map:
            raise RuntimeError(f"Unknown sampler: {x}")


def format_value_add_label(p: Any, opt: AxisOption, x: Any) -> str:
    return f"{opt.label}: {round(x, 8) if isinstance(x, float) else x}"


def format_value(p: Any, opt: AxisOption, x: Any) -> Any:
    return round(x, 8) if isinstance(x, float) else x


def format_nothing(p: Any, opt: AxisOption, x: Any) -> str:
    return ""


def do_nothing(p: Any, x: Any, xs: list[Any]) -> None: ...


def list_to_csv_string(data_list: list[Any]) -> str:
    with StringIO() as o:
        csv.writer(o).writerow(data_list)
        return o.getvalue().strip()


def csv_string_to_list_strip(data_str: str) -> list[str]:
    return [x.strip() for x in chain.from_iterable(csv.reader(StringIO(data_str), skipinitialspace=True))]


class AxisOption:
    """One thing that can vary: `apply(p, x, xs)` puts a value of `type` into the copy of p for a cell."""

    def __init__(
        self, label: str, type: Any, apply: Callable[..., None],
        format_value: Callable[..., Any] = format_value_add_label,
        confirm: Callable[..., None] | None = None, cost: float = 0.0, choices: Callable[[], list[str]] | None = None,
        prepare: Callable[[str], list[str]] | None = None,
    ) -> None:  # fmt: skip
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


class AxisOptionImg2Img(AxisOption):
    is_img2img = True


class AxisOptionTxt2Img(AxisOption):
    is_img2img = False


axis_options = [
    AxisOption("Nothing", str, do_nothing, format_value=format_nothing),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOptionTxt2Img("Hires steps", int, apply_field("hr_second_pass_steps")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    AxisOption("Prompt S/R", str, apply_prompt, format_value=format_value),
    AxisOption(
        "Sampler", str, apply_field("sampler_name"), format_value=format_value, confirm=confirm_samplers,
        choices=lambda: [x.name for x in sd_samplers.samplers],
    ),
    AxisOption("Schedule type", str, apply_field("scheduler"), choices=lambda: list(sd_schedulers.schedulers)),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Eta", float, apply_field("eta")),
    AxisOption("Negative Guidance minimum sigma", float, apply_field("s_min_uncond")),
]  # fmt: skip


def expand(kind: Any, values: list[str]) -> list[Any]:
    """Values of one axis; for numbers also ranges, "1-5", "1-5 (+2)" and "1-5 [3]"."""
    if kind not in (int, float):
        return [kind(x) for x in values]
    out: list[Any] = []
    for value in (x for x in values if x.strip()):
        stepped, counted = STEPPED.fullmatch(value), COUNTED.fullmatch(value)
        if stepped:
            low, high, step = (kind(x.replace(" ", "")) for x in stepped.groups(default="1"))
            out += np.arange(low, high + step * (1 if kind is int else 0.5), step).tolist()
        elif counted:
            low, high = (float(x.replace(" ", "")) for x in counted.groups()[:2])
            out += np.linspace(low, high, int(counted.group(3))).tolist()
        else:
            out.append(value)
    return [kind(x) for x in out]


class Script(scripts.Script):
    def title(self) -> str:
        return "X/Y/Z plot"

    def ui(self, is_img2img: bool) -> list[Any]:
        self.current_axis_options = [x for x in axis_options if type(x) is AxisOption or x.is_img2img == is_img2img]
        options = self.current_axis_options
        axes = []
        for name, default in (("x", 1), ("y", 0), ("z", 0)):
            with gr.Row():
                kind = gr.Dropdown(
                    [x.label for x in options], label=f"{name.upper()} type", value=options[default].label,
                    type="index", elem_id=self.elem_id(f"{name}_type"),
                )  # fmt: skip
                text = gr.Textbox(label=f"{name.upper()} values", lines=1, elem_id=self.elem_id(f"{name}_values"))
                drop = gr.Dropdown(label=f"{name.upper()} values", visible=False, multiselect=True, interactive=True)
                fill = ToolButton(FILL, elem_id=f"xyz_grid_fill_{name}_tool_button", visible=False)
                axes.append((name, kind, text, drop, fill))
        with gr.Row(variant="compact", elem_id="axis_options"):

            def check(label: str, name: str, value: bool = False) -> gr.Checkbox:
                return gr.Checkbox(label=label, value=value, elem_id=self.elem_id(name))

            draw_legend = check("Draw legend", "draw_legend", True)
            include_lone_images = check("Include Sub Images", "include_lone_images")
            include_sub_grids = check("Include Sub Grids", "include_sub_grids")
            no_fixed_seeds = check("Keep -1 for seeds", "no_fixed_seeds")
            vary = [check(f"Vary seeds for {x}", f"vary_seeds_{x.lower()}") for x in "XYZ"]
            csv_mode = check("Use text inputs instead of dropdowns", "csv_mode")
            margin = gr.Slider(
                label="Grid margins (px)", minimum=0, maximum=500, value=0, step=2, elem_id=self.elem_id("margin_size")
            )

        def select(index: int | None, as_text: bool) -> list[Any]:
            choices = options[index or 0].choices
            names = choices() if choices else None
            listed = bool(names) and not as_text
            return [
                gr.update(visible=listed or bool(names)),
                gr.update(visible=not listed),
                gr.update(choices=names, visible=listed),
            ]

        def fill_in(index: int | None, as_text: bool) -> list[Any]:
            choices = options[index or 0].choices
            names = choices() if choices else []
            return [list_to_csv_string(names), gr.update()] if as_text else [gr.update(), names]

        self.infotext_fields = []
        for name, kind, text, drop, fill in axes:
            for trigger in (kind, csv_mode):
                trigger.change(select, [kind, csv_mode], [fill, text, drop])
            fill.click(fill_in, [kind, csv_mode], [text, drop])
            key = name.upper()
            self.infotext_fields += [(kind, f"{key} Type"), (text, f"{key} Values")]
            self.infotext_fields.append(
                (drop, lambda d, key=key: gr.update(value=csv_string_to_list_strip(d.get(f"{key} Values", ""))))
            )
        fields = [c for _, kind, text, drop, _ in axes for c in (kind, text, drop)]
        return [*fields, draw_legend, include_lone_images, include_sub_grids, no_fixed_seeds, *vary, margin, csv_mode]

    def run(
        self, p: Any, x_type: int, x_values: str, x_values_dropdown: Any,
        y_type: int, y_values: str, y_values_dropdown: Any,
        z_type: int, z_values: str, z_values_dropdown: Any, draw_legend: bool, include_lone_images: bool,
        include_sub_grids: bool, no_fixed_seeds: bool, vary_seeds_x: bool, vary_seeds_y: bool, vary_seeds_z: bool,
        margin_size: int, csv_mode: bool,
    ) -> Processed:  # fmt: skip
        if not no_fixed_seeds:
            processing.fix_seed(p)

        def axis(index: int | None, text: str, dropdown: Any) -> tuple[AxisOption, list[Any], str]:
            opt = self.current_axis_options[index or 0]
            if opt.label == "Nothing":
                return opt, [0], ""
            if opt.choices is not None and not csv_mode:
                values, text = list(dropdown or []), list_to_csv_string(dropdown or [])
            else:
                values = opt.prepare(text) if opt.prepare is not None else csv_string_to_list_strip(text)
            expanded = expand(opt.type, values)
            if opt.confirm:
                opt.confirm(p, expanded)
            if opt.label == "Seed" and not no_fixed_seeds:
                expanded = [random.randrange(4294967294) if x == -1 else x for x in expanded]
            return opt, expanded, text

        axes = [
            axis(x_type, x_values, x_values_dropdown),
            axis(y_type, y_values, y_values_dropdown),
            axis(z_type, z_values, z_values_dropdown),
        ]
        (x_opt, xs, _), (y_opt, ys, _), (z_opt, zs, _) = axes
        if not (xs and ys and zs):
            raise RuntimeError("an axis of the X/Y/Z plot has no values")
        count = len(xs) * len(ys) * len(zs)
        shared.state.job_count = count * p.n_iter
        print(f"X/Y/Z plot will create {count * p.n_iter * p.batch_size} images.")
        grid_infotext: list[str | None] = [None] * (1 + len(zs))
        template: Processed | None = None
        cells: dict[tuple[int, int, int], Processed] = {}

        # The dearest axis (another checkpoint, say) changes least often.
        order = sorted(range(3), key=lambda i: (-axes[i][0].cost, -i))
        sizes = [len(xs), len(ys), len(zs)]
        for number, position in enumerate(np.ndindex(*(sizes[i] for i in order))):
            at = [0, 0, 0]
            for i, value in zip(order, position):
                at[i] = int(value)
            ix, iy, iz = at
            shared.state.job = f"{number + 1} out of {count}"
            if shared.state.interrupted or shared.state.stopping_generation:
                continue
            pc = copy(p)  # shallow: extra_generation_params is shared between cells, as in the webui
            pc.styles = pc.styles[:]
            x_opt.apply(pc, xs[ix], xs)
            y_opt.apply(pc, ys[iy], ys)
            z_opt.apply(pc, zs[iz], zs)
            steps = (vary_seeds_x, 1), (vary_seeds_y, len(xs) if vary_seeds_x else 1)
            pc.seed += sum(i * step for (on, step), i in zip(steps, (ix, iy)) if on)
            if vary_seeds_z:
                pc.seed += iz * (len(xs) if vary_seeds_x else 1) * (len(ys) if vary_seeds_y else 1)
            try:
                cells[ix, iy, iz] = res = process_images(pc)
            except Exception as e:  # noqa: BLE001
                errors.display(e, "generating image for xyz plot")
                continue
            template = template or res
            for slot, used in ((1 + iz, axes[:2]), (0, axes)):
                if grid_infotext[slot] is None and (ix, iy) == (0, 0):
                    extra = {"Script": self.title()}
                    for name, (opt, _, text) in zip("XYZ", used):
                        if opt.label != "Nothing":
                            extra |= {f"{name} Type": opt.label, f"{name} Values": text}
                    pg = copy(pc)
                    pg.extra_generation_params = {**pc.extra_generation_params, **extra}
                    grid_infotext[slot] = processing.create_infotext(pg, pg.all_prompts, pg.all_seeds, pg.all_subseeds)

        if template is None:
            return Processed(p, [], p.seed, "")
        blank = Image.new("RGB", template.images[0].size)

        def picture(ix: int, iy: int, iz: int) -> Image.Image:
            return cells[ix, iy, iz].images[0] if (ix, iy, iz) in cells else blank

        texts = [[str(opt.format_value(p, opt, v)) for v in values] for opt, values, _ in axes]
        subgrids = []
        for iz in range(len(zs)):
            grid = images.image_grid(
                [picture(ix, iy, iz) for iy in range(len(ys)) for ix in range(len(xs))], rows=len(ys)
            )
            subgrids.append(images.label_grid(grid, texts[0], texts[1], margin_size) if draw_legend else grid)
        main = images.image_grid(subgrids, rows=1)
        if draw_legend and len(zs) > 1:
            main = images.label_grid(main, texts[2], [""])

        result = copy(template)
        result.images, result.infotexts = [main], [grid_infotext[0] or ""]
        if include_sub_grids:
            result.images += subgrids
            result.infotexts += [x or "" for x in grid_infotext[1:]]
        result.index_of_first_image = len(result.images)
        if include_lone_images:
            for iz, iy, ix in np.ndindex(len(zs), len(ys), len(xs)):
                result.images.append(picture(ix, iy, iz))
                result.infotexts.append(cells[ix, iy, iz].infotexts[0] if (ix, iy, iz) in cells else "")
        result.info = result.infotexts[0]
        result.images[0].info["parameters"] = result.info
        return result
