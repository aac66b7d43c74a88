"""One picture without and one with PLADIS, side by side in a file."""

from __future__ import annotations

import argparse

from modules import images, progress, scripts, ui
from modules.processing import Processed, StableDiffusionProcessingTxt2Img, process_with_scripts
from PIL import Image


def make(options: argparse.Namespace, pladis: list[object]) -> Processed:
    """A picture with the script arguments that the page has at first, but PLADIS's."""
    runner = scripts.scripts_txt2img
    args = [0, *(x.value for x in runner.inputs[1:])]
    script = runner.script("PLADIS")
    if script is None:
        raise SystemExit("The PLADIS script did not load; see the messages above.")
    args[script.args_from : script.args_from + len(pladis)] = pladis
    p = StableDiffusionProcessingTxt2Img(
        prompt=options.prompt, negative_prompt=options.negative, seed=options.seed, steps=options.steps,
        cfg_scale=options.cfg, sampler_name=options.sampler, width=options.size, height=options.size,
        do_not_save_samples=True,
    )  # fmt: skip
    with progress.task("pair", "pair"):
        processed = process_with_scripts(p, runner, args)
    print(processed.comments, end="", flush=True)
    return processed


def write(options: argparse.Namespace) -> None:
    """Make both pictures and save them to `options.out`; the PNG carries the infotext of the second."""
    ui.create_ui()
    print("without PLADIS", flush=True)
    off = make(options, [False])
    options.seed = off.seed
    print(f"with PLADIS, λ = {options.scale:g}, α = {options.alpha:g}", flush=True)
    on = make(options, [True, options.scale, options.alpha])
    zoom = max(1, 384 // options.size)
    pictures = [x.images[0].resize((options.size * zoom,) * 2, Image.Resampling.NEAREST) for x in (off, on)]
    labels = ["without PLADIS", f"with PLADIS: scale {options.scale:g}, alpha {options.alpha:g}"]
    sheet = images.label_grid(images.image_grid(pictures, rows=1), labels, [""])
    sheet.info["parameters"] = on.infotexts[0]
    with open(options.out, "wb") as file:
        file.write(images.encode_png(sheet))
    print(f"{options.out}: seed {off.seed}")
