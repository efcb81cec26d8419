"""A process of a stage: started with its output in files, hurt by signals, killed with the stage at last."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from worker.sandbox.leash import Leash

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
_LOOK_S: Final = 0.02


class Child:
    """One Python process of ours, a module run with arguments."""

    def __init__(self, module: str, arguments: Sequence[str], *, output: Path, errors: Path) -> None:
        """Start it; what it prints goes to the two files."""
        self.output = output
        self.errors = errors
        self._leash = contextlib.ExitStack()
        leash = self._leash.enter_context(Leash())
        with output.open("ab") as out, errors.open("ab") as wrong:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a module of ours
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=wrong,
                start_new_session=True,
            )
        leash.hold(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended; a frozen one runs."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code, minus the signal that killed it, `None` while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended hears nothing."""
        if self.running:
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        self._leash.close()

    async def ended(self, *, within_s: float) -> int:
        """Wait for its end and return the exit code. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while self._process.poll() is None:  # noqa: ASYNC110 - a process sets no event
                await asyncio.sleep(_LOOK_S)
        self._leash.close()
        return self._process.returncode

    def told(self) -> str:
        """Return the end of what it printed, for an error message."""
        out = self.output.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        wrong = self.errors.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return "\n".join([f"{self.output}:", *out, f"{self.errors}:", *wrong])
