"""Records of our own transactions that hang: their coordinator calls them ended.

Seen on Apache Kafka 4.4 after a broker had been killed and had come back alone: partitions without a leader
at that moment get no marker ("likely deleted already and hence can be skipped"), and the transaction counts
as complete. Readers see nothing behind such records, for ever. Worse, the next commit of the same producer
id would show them, though they were aborted. So a new owner asks for the fate of the last transaction before
it fences, and afterwards gives hanging records the marker that they lack: an empty transaction of the same
producer id with the same fate (forwarded records are shown in any case). A foreign transaction is not touched
by that. Where the journal does not hang, it is asked itself how what hangs has ended (`traces`): that was an
earlier transaction, whose fate the coordinator has forgotten. Where nobody can tell, nothing is ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from worker.kafka.fates import Fate
from worker.kafka.reader import LATEST
from worker.kafka.traces import fate_of, traces_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import TopicPartition

    from worker.kafka.reader import Reader

SECOND_LOOK_S: Final = 0.3
"""Others' transactions are open in a topic that others write: only what stands still that long may hang."""


async def open_ends(reader: Reader, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the last stable offsets that lie below their high watermarks. Raises LogInterrupted."""
    if not partitions:
        return {}
    stable = await reader.offsets(partitions, at=LATEST, committed=True)
    marks = await reader.offsets(partitions, at=LATEST)
    return {tp: offset for tp, offset in stable.items() if offset < marks[tp]}


async def still_open(reader: Reader, partitions: Collection[TopicPartition]) -> set[TopicPartition]:
    """Return the partitions in which something stands open and does not move, where others write, too.

    Raises LogInterrupted.
    """
    first = await open_ends(reader, partitions)
    if not first:
        return set()
    await asyncio.sleep(SECOND_LOOK_S)
    second = await open_ends(reader, first.keys())
    return {tp for tp, offset in first.items() if second.get(tp) == offset}


async def told_by_journal(
    reader: Reader,
    journal: TopicPartition,
    stretches: Mapping[TopicPartition, int],
    *,
    producer_id: int,
    partition_bytes: int,
) -> dict[TopicPartition, Fate]:
    """Return how records of this producer that hang from these offsets on have ended.

    Left out is what the journal does not tell, or what ended in two ways. Raises LogInterrupted.
    """
    if not stretches:
        return {}
    marks = await reader.offsets([*stretches, journal], at=LATEST)
    traces = {}
    for tp, start in stretches.items():
        heads = await reader.heads(tp, start, before=marks[tp], partition_bytes=partition_bytes)
        traces[tp] = traces_of(heads, producer_id=producer_id)
    stamps = [trace.stamped_at for found in traces.values() for trace in found or ()]
    if not stamps:
        return {}
    # The first record of that time or later: below zero there is none, and so nothing that could tell.
    start = (await reader.offsets([journal], at=min(stamps)))[journal]
    if start < 0:
        return {}
    written = await reader.heads(journal, start, before=marks[journal], partition_bytes=partition_bytes)
    told = {}
    for tp, found in traces.items():
        fates = {fate_of(trace, written) for trace in found or ()}
        if len(fates) == 1 and None not in fates:
            told[tp] = next(fate for fate in fates if fate is not None)
    return told


async def give_markers(
    producer: AIOKafkaProducer, partitions: Collection[TopicPartition], fate: Fate
) -> None:
    """End an empty transaction in these partitions, with this fate. Raises what aiokafka raises."""
    await producer.begin_transaction()
    transaction = producer._txn_manager  # noqa: SLF001 - aiokafka adds a partition only with a record
    for tp in partitions:
        transaction.maybe_add_partition_to_txn(tp)
    if fate is Fate.COMMITTED:
        await producer.commit_transaction()
    else:
        await producer.abort_transaction()
