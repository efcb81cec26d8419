"""A worker with a clock that a test moves: `python -m tests.faults.counterparts.clocked_worker CONFIG CLOCK`.

The program as shipped but for the clock: no setting makes the shipped one look at anything but the machine's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.counterparts.worker_clock import SharedOffset
from worker.settings import load
from worker.wiring import run

if __name__ == "__main__":
    run(load(environ={}, config=Path(sys.argv[1])).settings, clock=SharedOffset(Path(sys.argv[2])))
