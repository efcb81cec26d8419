"""How records of ours ended, told by the journal: for those that hang where the journal does not.

Every transaction of a shard writes its journal, and all batches of one transaction bear the same timestamp,
which no other transaction of that producer bears. So the journal's batch of the same producer, epoch and
timestamp is of the same transaction, and the marker behind it tells how that one ended: it is what readers of
the journal go by, whatever the coordinator has forgotten. A batch that compaction took, or of a topic that
stamps by itself, tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.kafka.fates import Fate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from worker.kafka.batches import Head

_FATES: Final = {True: Fate.ABORTED, False: Fate.COMMITTED}


@dataclass(frozen=True, slots=True)
class Trace:
    """What all batches of one transaction have in common."""

    producer_id: int
    producer_epoch: int
    stamped_at: int
    """Their timestamp: ms since the Unix epoch, and unique among the transactions of this producer."""


def traces_of(heads: Iterable[Head], *, producer_id: int) -> set[Trace] | None:
    """Return the transactions that wrote these batches; ``None`` where one cannot be told.

    That is: not of this producer id, without one timestamp of its own, or stamped by the broker.
    """
    found: set[Trace] = set()
    for head in heads:
        if head.aborts is not None:
            continue
        if not head.transactional or head.producer_id != producer_id or head.stamp is None:
            return None
        found.add(Trace(head.producer_id, head.producer_epoch, head.stamp))
    return found


def fate_of(trace: Trace, journal: Sequence[Head]) -> Fate | None:
    """Return how a transaction ended, from the journal's batches in order; ``None`` if they do not tell."""
    written = False
    for head in journal:
        if head.producer_id != trace.producer_id:
            continue
        if head.aborts is None:
            written |= head.transactional and (
                (head.producer_epoch, head.stamp) == (trace.producer_epoch, trace.stamped_at)
            )
        elif written:
            return _FATES[head.aborts]
    return None
