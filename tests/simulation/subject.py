"""The real shard, set up for a simulated world: real rules and keys, shorter patience."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation.upstream import RECORD_BYTES
from worker.saga.patience import PATIENCE, Rules
from worker.saga.plan import PROFILE_STEPS, Profile, ProfileName
from worker.sealing.fingerprints import Fingerprints
from worker.sealing.key_ring import KeyRing
from worker.sealing.seal import Sealer
from worker.shard.driver import Surroundings
from worker.shard.shard import Shard, ShardOptions
from worker.shard.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.process import Ports

MINUTE_MS = 60_000


class Diarist:
    """An observer that writes log lines into the diary."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def log(self, event: str, **fields: object) -> None:
        """Write the line down."""
        self._tell(" ".join([event, *(f"{name}={content}" for name, content in fields.items())]))

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Hear a count."""

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Hear a value."""

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Hear a level."""


# The ladders keep their form; hours are cut to minutes, so that a run ends soon.
SHORT = {
    step: replace(
        patience,
        waits_ms=tuple(min(wait, 2 * MINUTE_MS) for wait in patience.waits_ms),
        give_up_after_ms=min(patience.give_up_after_ms, 8 * MINUTE_MS),
    )
    for step, patience in PATIENCE.items()
}
RULES = Rules(patience=SHORT, slow_most_ms=5 * MINUTE_MS)
_RING = KeyRing({"sealing-1": bytes(range(32))}, active="sealing-1")
_PRINTS = KeyRing({"prints-1": bytes(range(32, 64))}, active="prints-1")


def make_shard(ports: Ports) -> Shard:
    """Return a shard of the real worker, profile platform."""
    vault = Vault(
        sealing=_RING,
        fingerprinting=_PRINTS,
        sealer=Sealer(_RING),
        fingerprints=Fingerprints(_PRINTS),
    )
    return Shard(
        options=ShardOptions(
            partition=ports.log.partition,
            partitions=ports.partitions,
            source="unbinding/simulation",
            record_bytes=RECORD_BYTES,
        ),
        log=ports.log,
        feed=ports.feed,
        hub=ports.hub,
        lease=ports.lease,
        vault=vault,
        profile=Profile(steps=PROFILE_STEPS[ProfileName.PLATFORM]),
        surroundings=Surroundings(
            vault=vault,
            rules=RULES,
            holds=ports.holds,
            line_of=ports.hub.line,
            chance=ports.chance,
        ),
        clock=ports.clock,
        observer=Diarist(ports.tell),
    )
