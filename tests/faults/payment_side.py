"""The payment side in a process of its own, and its ledger.

`python -m tests.faults.payment_side DIRECTORY PORT` takes up the ledger of the directory again.
Each process of each worker calls under a client id of its own, so that the ledger tells whose call it was.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from worker.sandbox.payment import Sandbox, SandboxConfig, key_files, run_sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOTS: Final = ("a", "b", "c", "d", "e")
"""The workers that a stage can have."""
LIVES: Final = 3_000
"""How often one worker can be started."""
_PAGE: Final = 1000
_CONSULT: Final = "/aps/api/v1/authorizations/consultUnbinding"
_CANCEL: Final = "/aps/api/v1/authorizations/cancelToken"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCall:
    """One call in the ledger. Times in ms since the Unix epoch."""

    number: int
    step: str
    client_id: str
    fingerprint: str
    received_at: int
    ended: str | None
    ended_at: int | None
    effect: bool
    says_status: str | None

    @property
    def worker(self) -> str:
        """The name of the worker's process that called."""
        return worker_of(self.client_id)


def client_of(worker: str) -> str:
    """Return the client id of a worker's process, such as `a-3`."""
    return f"FAULTS_{worker.upper()}"


def worker_of(client_id: str) -> str:
    """Return the name of the worker's process that calls under this client id."""
    return client_id.removeprefix("FAULTS_").lower()


def counterparts_toml(directory: Path, *, base_url: str, worker: str, call_ms: int, in_flight: int) -> str:
    """Return the settings with which one process of a worker calls the payment side."""
    keys = key_files(directory.absolute())
    common = "\n".join(
        [
            f'base_url = "{base_url}"',
            f'client_id = "{client_of(worker)}"',
            'scheme = "header"',
            'key_version = "1"',
            f'private_key_file = "{keys.client_key}"',
            f'public_key_files = {{ "1" = "{keys.hub_public}" }}',
            f'timeout = "{call_ms}ms"',
            f"in_flight = {in_flight}",
        ]
    )
    return "\n".join(
        [
            "[counterparts.hub]",
            common,
            f'paths = {{ consult = "{_CONSULT}" }}',
            "[counterparts.tokens]",
            common,
            f'paths = {{ cancel_token = "{_CANCEL}" }}',
            "",
        ]
    )


async def set_rules(base_url: str, rules: Mapping[str, Any]) -> None:
    """Tell the payment side how to behave from now on, until it is told otherwise or starts anew."""
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{base_url}/sandbox/rules", json=rules) as answer,
    ):
        if answer.status != 200:
            raise ValueError(f"the payment side refuses the rules: {await answer.text()}")


async def read_ledger(base_url: str, *, after: int = 0) -> list[LedgerCall]:
    """Read all verified calls with a higher number, over HTTP."""
    calls: list[LedgerCall] = []
    async with aiohttp.ClientSession() as session:
        following: int | None = after
        while following is not None:
            url = f"{base_url}/sandbox/ledger?after={following}&limit={_PAGE}"
            async with session.get(url) as answer:
                page: dict[str, Any] = await answer.json()
            calls += [_call(found) for found in page["calls"] if found["fingerprint"] is not None]
            following = page["next_after"]
    return calls


def _call(found: dict[str, Any]) -> LedgerCall:
    return LedgerCall(
        number=found["number"],
        step=found["api"],
        client_id=found["client_id"],
        fingerprint=found["fingerprint"],
        received_at=found["received_at"],
        ended=found["ended"],
        ended_at=found["ended_at"],
        effect=found["effect"],
        says_status=found["says_status"],
    )


def _announce(box: Sandbox) -> None:
    sys.stdout.write(f"{box.base_url}\n")
    sys.stdout.flush()


def main(directory: Path, port: int) -> None:
    """Serve until a signal comes; the first line printed is the base URL."""
    config = SandboxConfig(
        directory=directory,
        port=port,
        ledger_file=directory / "ledger.jsonl",
        clients=tuple(client_of(f"{slot}-{life}") for slot in SLOTS for life in range(1, LIVES + 1)),
    )
    run_sandbox(config, announce=_announce)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
