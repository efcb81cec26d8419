"""A worker that dies where it is told: `python -m tests.crash.doomed_worker --sentence FILE --config FILE`.

It is composed by the same wiring from the same settings as `unbinding run`; only what the code calls at its
crash points is another function, and with ``--listen`` the event loop.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import uvloop

from tests.crash.doom import Doom
from tests.crash.wire import ListeningLoop
from worker.settings import load
from worker.wiring import run


def main() -> None:
    """Run until a signal comes, or until death."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.doomed_worker")
    parser.add_argument("--sentence", type=Path, required=True, help="where a sentence is put")
    parser.add_argument("--listen", action="store_true", help="die also at moments on the wire")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="like an environment"
    )
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args()
    environ = {**os.environ, **dict(setting.split("=", 1) for setting in given.set)}
    doom = Doom(given.sentence)
    run(
        load(environ=environ, config=given.config).settings,
        passing_in=doom.passing_in,
        new_loop=partial(ListeningLoop, doom.passed) if given.listen else uvloop.new_event_loop,
    )


if __name__ == "__main__":
    main()
