"""PLADIS, an always-on script. All of it is in `lib_pladis`, and begins in `lib_pladis/webui/script.py`."""

from __future__ import annotations

import sys
from typing import Any

from modules import script_callbacks, scripts

library: Any = sys.modules.get("lib_pladis")
loaded = (data.path for data in scripts.scripts_data if data.script_class.__name__ == "PladisScript")
other = next(loaded, "")
if other:
    print(f"PLADIS: installed twice: {other} is used, {__file__} is not. Remove one of the two folders.")
    library.not_used = __file__
else:
    # "Reload UI" runs this file anew, and what it imports is to be new too. A generation that is still running goes on
    # in the modules that it began in, which go on hearing of its denoiser's calls.
    for name in [name for name in sys.modules if name.split(".")[0] == "lib_pladis"]:
        del sys.modules[name]
    before_reload = getattr(library, "before_reload", None)
    if before_reload is not None:
        script_callbacks.on_cfg_denoiser(before_reload)

    from lib_pladis.webui import hosted

    if hosted.is_sdnext():
        from lib_pladis.webui import sdnext

        PladisScript: type[scripts.Script] = sdnext.PladisScript
    elif hosted.WHY_NOT:
        print(f"PLADIS: {hosted.WHY_NOT}")
    else:
        from lib_pladis.webui import script

        PladisScript = script.PladisScript
