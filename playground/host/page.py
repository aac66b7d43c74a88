"""The HTML page: adds the host's and the extensions' scripts and styles, takes out what would be fetched from afar."""

from __future__ import annotations

import os
import re
from typing import Any

import gradio as gr
from modules import paths, scripts

FOREIGN = re.compile(rb"<(script|link)\b[^>]*(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?", re.I)


def webpath(path: str) -> str:
    return f"file={path.replace(os.sep, '/')}?{os.path.getmtime(path)}"


def head_html() -> str:
    """script.js first, then javascript/*.js of the host and of each extension."""
    files = [os.path.join(paths.script_path, "script.js")]
    files += [x.path for x in scripts.list_scripts("javascript", ".js")]
    tags = [f'<script type="text/javascript" src="{webpath(x)}"></script>' for x in files]
    tags += [
        f'<script type="module" src="{webpath(x.path)}"></script>' for x in scripts.list_scripts("javascript", ".mjs")
    ]
    return "\n".join(tags)


def css_html() -> str:
    files = scripts.list_files_with_name("style.css")
    return "\n".join(f'<link rel="stylesheet" property="stylesheet" href="{webpath(x)}">' for x in files)


def install() -> None:
    """From now on gradio's page carries the above."""
    original = gr.routes.templates.TemplateResponse

    def template_response(*args: Any, **kwargs: Any) -> Any:
        res = original(*args, **kwargs)
        body = FOREIGN.sub(b"", res.body)
        body = body.replace(b"</head>", head_html().encode() + b"</head>", 1)
        res.body = body.replace(b"</body>", css_html().encode() + b"</body>", 1)
        res.init_headers()
        return res

    gr.routes.templates.TemplateResponse = template_response


def allowed_paths() -> list[str]:
    """What the page may load through `file=`."""
    roots = [paths.script_path, *{x.basedir for x in scripts.list_scripts("javascript", ".js")}]
    found = [os.path.join(root, "javascript") for root in roots] + scripts.list_files_with_name("style.css")
    return [*found, os.path.join(paths.script_path, "script.js")]
