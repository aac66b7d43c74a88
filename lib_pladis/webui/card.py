"""Check my card for the settings page and the API: the verdicts on kernels on this machine, and a check of all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from lib_pladis import check
from lib_pladis.json_file import JsonFile
from lib_pladis.kernels.cuda.cubins import CUBINS
from lib_pladis.kernels.proof import PROOFS, environment
from lib_pladis.webui.own_presets import folder

FILE, CUBIN_FOLDER = "pladis-kernels.json", "pladis-kernels"


class Card:
    """One check at a time, in child processes of `command`, and the result of the last one."""

    def __init__(self, command: Sequence[str] = check.CHILD) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._rows: list[check.Row] = []
        self.device = check.best_device()

    def start(self) -> threading.Thread:
        """Begin a check, unless one is running."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._rows = []
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            return self._thread

    def text(self) -> str:
        """Run a check to its end, or wait for the one that is running: its table."""
        self.start().join()
        return check.text(self.device, self._rows)

    def as_dict(self, start: bool = False) -> dict[str, Any]:
        """The state in plain JSON types. start: begin a check. Returns device: the card and versions; verdicts: of the
        proofs on this device; running, done, cases: of the check; rows, text: its results. What was not measured is
        None."""
        if start:
            self.start()
        rows = list(self._rows)
        return {
            "device": environment(torch.device(self.device)),
            "verdicts": PROOFS.as_list(torch.device(self.device)),
            "running": self._thread is not None and self._thread.is_alive(),
            "done": len(rows),
            "cases": len(check.cases()),
            "rows": [_plain(asdict(row)) for row in rows],
            "text": check.text(self.device, rows) if rows else "",
        }

    def _run(self) -> None:
        print(f"PLADIS: checking {len(check.cases())} cases, in at most {check.MINUTES:.0f} minutes")
        for row in check.run(self.device, command=self._command):
            self._rows.append(row)
            if row.wrong:
                print(f"PLADIS: {row.case.kernel}, {row.case}: {row.wrong}")
        print("PLADIS: checked")


def keep_proofs() -> None:
    """Keep verdicts on kernels and compiled kernels in the web UI's data folder."""
    PROOFS.keep_in(JsonFile(lambda: folder() / FILE))
    CUBINS.keep_in(lambda: folder() / CUBIN_FOLDER)


CARD = Card()


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in fields.items()}  # NaN is no JSON
