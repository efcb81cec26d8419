"""A payment side for workers with other clocks: `python -m tests.faults.counterparts.payment DIR PORT`.

It takes signed requests of any age; its ledger survives a kill.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.faults.payment_side import LIVES, SLOTS, client_of
from worker.sandbox.payment import Sandbox, SandboxConfig, run_sandbox

LEDGER = "ledger.jsonl"


def _announce(box: Sandbox) -> None:
    sys.stdout.write(f"{box.base_url}\n")
    sys.stdout.flush()


def main(directory: Path, port: int) -> None:
    """Serve until a signal comes; each start prints the base URL."""
    config = SandboxConfig(
        directory=directory,
        port=port,
        ledger_file=directory / LEDGER,
        clients=tuple(client_of(f"{slot}-{life}") for slot in SLOTS for life in range(1, LIVES + 1)),
        allowed_skew_ms=None,
    )
    run_sandbox(config, announce=_announce)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
