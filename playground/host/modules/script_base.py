"""`Script`, the class that scripts derive from, and the objects some of its callbacks get."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

AlwaysVisible = object()
PostSampleArgs = dataclasses.make_dataclass("PostSampleArgs", ["samples"])
PostprocessImageArgs = dataclasses.make_dataclass("PostprocessImageArgs", ["image"])
PostprocessBatchListArgs = dataclasses.make_dataclass("PostprocessBatchListArgs", ["images"])

CALLBACKS = (
    "setup", "before_process", "process", "before_process_batch", "process_batch", "before_hr",
    "process_before_every_sampling", "post_sample", "postprocess_batch", "postprocess_batch_list",
    "postprocess_image", "postprocess_image_after_composite", "postprocess",
)  # fmt: skip
"""`script.<name>(p, [one of the above, or Processed,] *its arguments, **what the host adds)`; here they do nothing."""


class Script:
    """Base class of scripts. A subclass has a title, and overrides what it needs."""

    name: str | None = None
    filename = ""
    args_from = args_to = 0
    alwayson = is_txt2img = is_img2img = False
    tabname = ""
    group: Any = None
    create_group = True
    infotext_fields: Any = None
    paste_field_names: Any = None
    controls: Any = None

    def title(self) -> str:
        raise NotImplementedError

    def show(self, is_img2img: bool) -> Any:
        return True

    def ui(self, is_img2img: bool) -> Any: ...

    def run(self, p: Any, *args: Any) -> Any: ...

    def elem_id(self, item_id: str) -> str:
        """`script_[<tab>_]<title>_<item_id>`; the tab only when the script shows in both."""
        tab = f"{'img2img' if self.is_img2img else 'txt2img'}_" if self.show(True) == self.show(False) else ""
        title = re.sub(r"[^a-z_0-9]", "", re.sub(r"\s", "_", self.title().lower()))
        return f"script_{tab}{title}_{item_id}"


def _nothing(self: Script, p: Any, *args: Any, **kwargs: Any) -> None: ...


for _name in CALLBACKS:
    setattr(Script, _name, _nothing)
