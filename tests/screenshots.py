"""The documentation's pictures of the playground's page, in Chromium, each with a digest of what decides its looks.

A test compares the digest with that of now, and so says which picture is stale.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from playground import server

ROOT = Path(__file__).resolve().parents[1]
SHOWS = "shows"
"""The name of the digest in a picture's PNG text."""

STYLE = "style.css"
PANEL_FILES = (
    "javascript/pladis.js",
    "javascript/pladis_row.js",
    "javascript/pladis_curve.js",
    "javascript/pladis_panel.js",
    STYLE,
    "lib_pladis/suggestion.py",
    *(f"lib_pladis/webui/{name}.py" for name in ("panel", "preset_panel", "page")),
)
GALLERY_FILES = ("javascript/pladis_gallery.js", STYLE)
COMPARE_FILES = ("javascript/pladis_view_compare.js", *GALLERY_FILES)
LOOK_FILES = ("javascript/pladis_view_look.js", "lib_pladis/webui/heat.py", *GALLERY_FILES)

PROMPT = "a blue circle on the left and a red square on the right"
CFG, SEED = 5, 1
"""Of the pictures on the page; the seed is not chosen."""

LINE = (("PageUp", 2), ("ArrowRight", 4))
"""Keys that move Compare's line from the middle through the square."""

VIEWPORT = {"width": 1500, "height": 1300}


def small(picture: Image.Image) -> Image.Image:
    """In 256 colours: less than half the size, and no difference to see."""
    return picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)


def sign(path: Path, picture: Image.Image, digest: str) -> None:
    """Save a picture with its digest in it."""
    text = PngImagePlugin.PngInfo()
    text.add_text(SHOWS, digest)
    small(picture).save(path, pnginfo=text, optimize=True)


def shown(path: Path) -> str | None:
    """The digest that a picture carries."""
    with Image.open(path) as picture:
        return picture.info.get(SHOWS)


def panel_digest() -> str:
    """Of all that decides what the panel looks like: settings and presets, its layout, its script and style."""
    from lib_pladis.settings import panel_rows
    from tests.readme_table import tables

    made = tables()
    return _digest(PANEL_FILES, [""], made["settings"], made["presets"], str(panel_rows()))


def compare_digest() -> str:
    """Of the slider under the gallery."""
    return _digest(COMPARE_FILES, ["below the gallery", "Compare"], PROMPT, str((CFG, SEED, LINE)))


def look_digest() -> str:
    """Of Look inside, under the gallery."""
    return _digest(LOOK_FILES, ["below the gallery", "Look inside"], PROMPT, str((CFG, SEED)))


def _digest(files: tuple[str, ...], styles: list[str], *texts: str) -> str:
    """The digest of files without their comments, of texts, and of the parts of style.css with these headings; the
    first part, the panel's, has none."""
    digest = hashlib.sha256("\n".join(texts).encode())
    for name in files:
        text = (ROOT / name).read_text(encoding="utf-8")
        if name == STYLE:
            parts = re.split(r"^/\* ---- ", text, flags=re.M)
            text = "".join(part for part in parts[1:] for style in styles if style and part.startswith(style))
            text += parts[0] if "" in styles or not text else ""
        digest.update(re.sub(r"(^|\s)// .*$", "", text, flags=re.M).encode())
    return digest.hexdigest()


def panel(path: Path) -> None:
    """The panel with its chart."""
    with _page() as web:
        web.open_panel().expect(2.0, 1.5)
        web.page.wait_for_selector("#pladis_txt2img_suggestion .pladis-take")
        _shoot(web, "#pladis_txt2img_enabled", path, panel_digest())


def compare(path: Path) -> None:
    """What Compare puts under the gallery, with its line through the square."""
    with _page() as web:
        _generate(web, "compare")
        _wait_for_images(web, "#pladis_txt2img_compare_view")
        web.page.get_by_role("slider").filter(has_text="⇔").focus()
        for key, times in LINE:
            for _ in range(times):
                web.page.keyboard.press(key)
        web.page.evaluate("document.activeElement.blur()")
        _shoot(web, "#pladis_txt2img_compare_view", path, compare_digest())


def look(path: Path) -> None:
    """What Look inside puts under the gallery, with the table of the layers open."""
    with _page() as web:
        _generate(web, "look")
        view = web.page.locator("#pladis_txt2img_look_view")
        _wait_for_images(web, "#pladis_txt2img_look_view")
        view.get_by_text("Layer by layer").click()
        _shoot(web, "#pladis_txt2img_look_view", path, look_digest())


@contextmanager
def _page() -> Iterator[Any]:
    """The playground's page, light, in a playground started here."""
    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    from curve_page import launch_chromium, only
    from webui_page import WebPage

    from tests.acceptance.webui import WebUI

    with server.serving() as url, launch_chromium() as browser:
        page = browser.new_page(viewport=VIEWPORT, **only(url))
        yield WebPage(page, WebUI(url, size=128, steps=20)).open("light")


def _generate(web: Any, tick: str) -> None:
    web.prepare(prompt=PROMPT, seed=SEED)
    web.number("txt2img_cfg_scale", CFG)
    web.open_panel()
    web.page.check(f"#pladis_txt2img_{tick} input[type=checkbox]")
    web.generate()
    web.page.locator(f"#pladis_txt2img_{tick}_view").wait_for(state="visible")


def _wait_for_images(web: Any, at: str) -> None:
    loaded = "(all) => all.length > 0 && all.every((x) => x.complete && x.naturalWidth)"
    web.page.wait_for_function(f"(at) => ({loaded})([...document.querySelectorAll(at)])", arg=f"{at} img")


def _shoot(web: Any, at: str, path: Path, digest: str) -> None:
    web.page.mouse.move(0, 0)
    shot = web.page.locator(at).first.screenshot()
    with Image.open(io.BytesIO(shot)) as picture:
        sign(path, picture.convert("RGB"), digest)
