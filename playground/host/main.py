"""Starts the playground in its own Python: loads the model and the scripts, then serves or makes one pair.

`../run.py` calls this; see there for the options.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time

START = time.perf_counter()
HERE = os.path.dirname(os.path.abspath(__file__))
PLAYGROUND = os.path.dirname(HERE)
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
CHECKPOINT = "pladis-playground"
UI_CONFIG = os.path.join(HERE, "ui-config.json")
"""CFG scale, steps and preset at which the study (docs/alignment.md) found a gain on this model."""
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)

OPTIONS: tuple[tuple[str, type, object, str], ...] = (
    ("--port", int, 7860, "port at 127.0.0.1 (default 7860)"),
    ("--prompt", str, None, "make one off/on pair of this prompt and exit"),
    ("--negative", str, "", "negative prompt"),
    ("--seed", int, -1, "-1 is random"),
    ("--steps", int, 10, "sampling steps"),
    ("--cfg", float, 1.0, "guidance scale"),
    ("--sampler", str, "DPM++ 2M", "sampling method"),
    ("--size", int, 128, "width and height, a multiple of 8"),
    ("--scale", float, 1.0, "PLADIS λ"),
    ("--alpha", float, 1.5, "PLADIS α"),
    ("--out", str, "pair.png", "where the pair goes"),
    ("--checkpoint", str, CHECKPOINT, "its name, or a file of the same layout"),
    ("--data-dir", str, "", "where pictures, blind tests and your presets are kept (default: data/ in playground/)"),
    ("--ui-config-file", str, UI_CONFIG, "values that the page's controls start with (empty: their own)"),
    ("--threads", int, THREADS, "torch threads (default: OMP_NUM_THREADS, else all cores)"),
)


def say(text: str) -> None:
    print(f"[{time.perf_counter() - START:5.1f} s] {text}", flush=True)


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="playground/run.py", description="A small host for the PLADIS extension.")
    for name, kind, default, text in OPTIONS:
        parser.add_argument(name, type=kind, default=default, help=text)
    parser.add_argument("--extension", action="append", default=[], help="folder of one more extension to load")
    return parser.parse_args(argv)


def load(options: argparse.Namespace) -> None:
    """Put model and scripts in place."""
    import torch

    torch.set_num_threads(options.threads)
    sys.path.append(PLAYGROUND)
    from model.weights import UNETS
    from modules import extensions, paths_internal, script_callbacks, scripts, sd_models, ui_loadsave

    paths_internal.data_path = options.data_dir or paths_internal.data_path
    for folder in [os.path.dirname(PLAYGROUND), *options.extension]:
        path = os.path.abspath(folder)
        extensions.extensions.append(extensions.Extension(os.path.basename(path), path))
    scripts.load_scripts()
    ui_loadsave.load(options.ui_config_file)
    sd_models.list_models(*dict.fromkeys([options.checkpoint, *UNETS]))
    model = sd_models.load_model(options.checkpoint)
    say(f"model ready: {model.sd_checkpoint_info.name}, {torch.get_num_threads()} threads on {model.device}")
    script_callbacks.before_ui_callback()


def serve(options: argparse.Namespace) -> None:
    import page
    import uvicorn
    from modules import shared

    shared.cmd_opts.port = options.port
    config = uvicorn.Config(page.create_app(), host="127.0.0.1", port=options.port, log_level="warning")
    say(f"serving at http://127.0.0.1:{options.port} (stop with Ctrl+C)")
    uvicorn.Server(config).run()


def check_port(port: int) -> None:
    """Say so now, not after loading, when another program serves there."""
    with socket.socket() as s:
        if os.name != "nt":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            raise SystemExit(f"port {port} is taken ({e.strerror}); choose another with --port") from e


def main(argv: list[str]) -> int:
    options = parse_args(argv)
    if options.prompt is None:
        check_port(options.port)
    say("loading libraries")
    load(options)
    if options.prompt is None:
        serve(options)
        return 0
    import pair

    pair.write(options)
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
