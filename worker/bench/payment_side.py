"""The payment side's process: ``python -m worker.bench.payment_side DIRECTORY``; it ends with its input."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import orjson

from worker.sandbox.payment import Sandbox, SandboxConfig, run_sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """How to reach the payment side, and the part of a worker's settings that says so."""

    base_url: str
    client_key: str
    hub_public_key: str
    settings_toml: str

    @staticmethod
    def from_json(line: bytes) -> Address:
        """Read what the process says when it listens. Raises ValueError or TypeError for anything else."""
        return Address(**orjson.loads(line))


def _announce(box: Sandbox) -> None:
    address = Address(
        base_url=box.base_url,
        client_key=str(box.keys.client_key),
        hub_public_key=str(box.keys.hub_public),
        settings_toml=box.settings_toml(),
    )
    sys.stdout.buffer.write(orjson.dumps(address) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    run_sandbox(SandboxConfig(directory=Path(sys.argv[1])), announce=_announce)
