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


def say(text: str) -> None:
    print(f"[{time.perf_counter() - START:5.1f} s] {text}", flush=True)


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="playground/run.py", description="A small host for the PLADIS extension.")
    parser.add_argument("--port", type=int, default=7860, help="port at 127.0.0.1 (default 7860)")
    parser.add_argument("--prompt", help="make one off/on pair of this prompt and exit")
    parser.add_argument("--negative", default="", help="negative prompt")
    parser.add_argument("--seed", type=int, default=-1, help="-1 is random")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=5.0, help="guidance scale")
    parser.add_argument("--sampler", default="DPM++ 2M")
    parser.add_argument("--size", type=int, default=128, help="width and height, a multiple of 8")
    parser.add_argument("--scale", type=float, default=2.0, help="PLADIS λ")
    parser.add_argument("--alpha", type=float, default=1.5, help="PLADIS α")
    parser.add_argument("--out", default="pair.png", help="where the pair goes")
    parser.add_argument("--checkpoint", default=CHECKPOINT, help="its name, or a file of the same layout")
    parser.add_argument("--extension", action="append", default=[], help="folder of one more extension to load")
    parser.add_argument(
        "--threads",
        type=int,
        default=int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        help="torch threads (default: OMP_NUM_THREADS, else all cores)",
    )
    return parser.parse_args(argv)


def load(options: argparse.Namespace) -> None:
    """Put model and scripts in place."""
    import torch

    torch.set_num_threads(options.threads)
    from modules import extensions, gradio_extensons, script_callbacks, scripts, sd_models

    sys.path.append(PLAYGROUND)
    from model.load import load as load_checkpoint

    loaded = load_checkpoint(options.checkpoint)
    for folder in [os.path.dirname(PLAYGROUND), *options.extension]:
        path = os.path.abspath(folder)
        extensions.extensions.append(extensions.Extension(os.path.basename(path), path))
    gradio_extensons.install()
    scripts.load_scripts()
    model = sd_models.load_model(loaded)
    say(f"model ready: {model.sd_checkpoint_info.name}, {torch.get_num_threads()} threads on {model.device}")
    script_callbacks.before_ui_callback()


def serve(options: argparse.Namespace) -> None:
    import gradio as gr
    import page
    import uvicorn
    from modules import progress, script_callbacks, shared, ui
    from modules.api.api import Api

    shared.cmd_opts.port = options.port
    demo = shared.demo = ui.create_ui()
    page.install()
    demo.dev_mode = False
    demo.config = demo.get_config_file()
    demo.validate_queue_settings()
    demo.allowed_paths, demo.blocked_paths = page.allowed_paths(), []
    demo.show_api = False
    app = gr.routes.App.create_app(demo)
    progress.setup_progress_api(app)
    Api(app)
    script_callbacks.app_started_callback(demo, app)
    config = uvicorn.Config(app, host="127.0.0.1", port=options.port, log_level="warning")
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
    else:
        import pair
        from modules import ui

        ui.create_ui()
        pair.write(options)
        say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
