"""The real shard, set up for a simulated world: real rules and keys, shorter patience."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from tests.simulation.setting import MINUTE_MS, RECORD_BYTES
from worker.saga.patience import PATIENCE, Rules
from worker.saga.plan import Profile
from worker.sealing.fingerprints import Fingerprints
from worker.sealing.key_ring import KeyRing
from worker.sealing.seal import Sealer
from worker.shard.driver import Surroundings
from worker.shard.shard import Shard, ShardOptions
from worker.shard.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.process import Ports
    from tests.simulation.setting import Keys, Setting


class Diarist:
    """An observer that writes log lines into the diary, and counts what was reached."""

    def __init__(self, tell: Callable[[str], None], reach: Callable[[str, str], None]) -> None:
        self._tell = tell
        self._reach = reach

    def log(self, event: str, **fields: object) -> None:
        """Write the line down."""
        self._reach(event, str(fields.get("cause") or fields.get("reason") or ""))
        told = (f"{name}={content}" for name, content in fields.items() if content is not None)
        self._tell(" ".join([event, *told]))

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
        waits_ms=tuple(min(wait, 45_000) for wait in patience.waits_ms),
        give_up_after_ms=min(patience.give_up_after_ms, 4 * MINUTE_MS),
    )
    for step, patience in PATIENCE.items()
}
RULES = Rules(patience=SHORT, slow_most_ms=2 * MINUTE_MS)


def key_of(key_id: str) -> bytes:
    """Return the secret key of an id: each id has one, in every world."""
    return hashlib.sha256(key_id.encode()).digest()


@lru_cache
def vault_of(keys: Keys) -> Vault:
    """Return a vault with these keys."""
    sealing = KeyRing({name: key_of(name) for name in keys.sealing}, active=keys.sealing[0])
    prints = KeyRing({name: key_of(name) for name in keys.prints}, active=keys.prints[0])
    return Vault(
        sealing=sealing, fingerprinting=prints, sealer=Sealer(sealing), fingerprints=Fingerprints(prints)
    )


def options_of(setting: Setting, *, partition: int, partitions: int) -> ShardOptions:
    """Return the numbers of a shard in this setting."""
    sizes = setting.sizes
    return ShardOptions(
        partition=partition,
        partitions=partitions,
        source="unbinding/simulation",
        record_bytes=RECORD_BYTES,
        live_sagas=sizes.live_sagas,
        live_bytes=sizes.live_bytes,
        inbox=sizes.inbox,
        inbox_bytes=sizes.inbox_bytes,
        batch=sizes.batch,
        unit_bytes=sizes.unit_bytes,
        accept_loss=setting.accept_loss,
        given_up_keys=setting.keys.given_up,
        remembering=setting.remembering,
    )


def make_shard(ports: Ports) -> Shard:
    """Return a shard of the real worker, in the setting that its process was started with."""
    setting = ports.setting
    vault = vault_of(setting.keys)
    return Shard(
        options=options_of(setting, partition=ports.log.partition, partitions=ports.partitions),
        log=ports.log,
        feed=ports.feed,
        hub=ports.hub,
        lease=ports.lease,
        vault=vault,
        profile=Profile(
            steps=setting.steps,
            edition=setting.edition,
            consult=setting.consult,
            unconsulted_psps=setting.unconsulted_psps,
        ),
        surroundings=Surroundings(
            vault=vault,
            rules=RULES,
            holds=ports.holds,
            line_of=ports.hub.line,
            chance=ports.chance,
        ),
        clock=ports.clock,
        observer=Diarist(ports.tell, ports.reach),
        linger=ports.linger,
    )
