"""The app: gradio's page with the host's and the extensions' scripts and styles, nothing from afar, and the APIs."""

from __future__ import annotations

import os
import re
from typing import Any

import gradio as gr
import vocabulary
from fastapi import FastAPI
from modules import paths, progress, script_callbacks, scripts, shared, ui
from modules.api.api import Api

FOREIGN = re.compile(rb"<(script|link)\b[^>]*(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?", re.I)
TAGS = {
    ".js": (b"</head>", '<script type="text/javascript" src="file={}?{}"></script>'),
    ".css": (b"</body>", '<link rel="stylesheet" property="stylesheet" href="file={}?{}">'),
}
"""Before what in the page a file of that kind goes, and how."""


def loaded_files() -> list[str]:
    """script.js first, then javascript/*.js and style.css of each extension."""
    found = scripts.list_scripts("javascript", ".js") + scripts.list_scripts("", "style.css")
    return [os.path.join(paths.script_path, "script.js"), *(x.path for x in found)]


def change_page() -> None:
    """From now on gradio's page carries those files."""
    original = gr.routes.templates.TemplateResponse

    def template_response(*args: Any, **kwargs: Any) -> Any:
        res = original(*args, **kwargs)
        res.body = FOREIGN.sub(b"", res.body)
        for path in loaded_files():
            where, tag = TAGS[os.path.splitext(path)[1]]
            text = tag.format(path.replace(os.sep, "/"), os.path.getmtime(path))
            res.body = res.body.replace(where, text.encode() + where, 1)
        res.init_headers()
        return res

    gr.routes.templates.TemplateResponse = template_response


def create_app() -> FastAPI:
    demo = shared.demo = ui.create_ui(vocabulary.WELCOME, vocabulary.EXAMPLES)
    change_page()
    demo.dev_mode = demo.show_api = False
    demo.config = demo.get_config_file()
    demo.validate_queue_settings()
    demo.allowed_paths, demo.blocked_paths = loaded_files(), []
    app = gr.routes.App.create_app(demo)
    progress.setup_progress_api(app)
    Api(app)
    script_callbacks.app_started_callback(demo, app)
    return app
