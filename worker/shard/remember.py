"""Lets blocks take over ended sagas and noticed targets, and forgets the oldest."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from worker.shard.seen import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.shard.memory import Entry, Memory
    from worker.shard.unit import Unit

BLOCK_SAGAS: Final = 256
"""Ended sagas that make a block worth writing."""
BLOCK_NOTICED: Final = 2_048
"""Noticed targets that make a block worth writing, and at most in one: it must stay small enough to write."""
BLOCK_WAIT_MS: Final = 600_000
"""How long an ended saga waits for others, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembering:
    """How long finished requests and dead targets are remembered: the shorter of the two counts."""

    time_ms: int = 7 * 24 * 3_600_000
    bytes: int = 64 * 1024 * 1024


def block_due_at(memory: Memory) -> int | None:
    """Return when the next block is to be written (ms since the Unix epoch), if anything waits for one."""
    moments: list[int] = []
    if memory.ended:
        oldest = memory.entries[memory.ended[0]].ended_at or 0
        moments.append(oldest if len(memory.ended) >= BLOCK_SAGAS else oldest + BLOCK_WAIT_MS)
    if len(memory.noticed) >= BLOCK_NOTICED:
        moments.append(0)
    return min(moments, default=None)


def write_block(unit: Unit, memory: Memory) -> None:
    """Take ended sagas and noticed targets over into a block, in one unit with their tombstones."""
    taken = [memory.entries[memory.ended.popleft()] for _ in range(min(BLOCK_SAGAS, len(memory.ended)))]
    noticed = dict(islice(memory.noticed.items(), BLOCK_NOTICED))
    key = memory.seen.next_key(now_at=unit.now_at)
    block = pack([*_digests(taken), *noticed.items()])
    memory.seen.add(key, block)
    unit.keep_block(key.text(), block)
    for entry in taken:
        unit.forget(entry)
        unit.drop_state(entry.key)
        memory.drop(entry)
    for digest in noticed:
        unit.keep_dead(digest, None)
        del memory.noticed[digest]
        memory.count_dead(digest)


def forget_oldest(unit: Unit, memory: Memory, remembering: Remembering) -> None:
    """Forget the oldest hour, if it is too old or there is too much."""
    keys = memory.seen.outdated(horizon_at=unit.now_at - remembering.time_ms, most_bytes=remembering.bytes)
    for key in keys:
        unit.keep_block(key.text(), None)
    if keys:
        memory.seen.forget(keys[0].hour)


def _digests(entries: list[Entry]) -> Iterator[tuple[bytes, int]]:
    for entry in entries:
        ended_at = entry.ended_at or 0
        for ref in entry.saga.requests:
            yield ref.digest, ended_at
        yield from entry.dead
