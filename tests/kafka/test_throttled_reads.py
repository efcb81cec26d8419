"""A reader over its quota, or without a right; and which refusals are a record's own fault: pure."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors as kafka
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.structs import TopicPartition

from tests.simulation.loop import SimLoop, run
from worker.kafka.connection import Connection
from worker.kafka.faults import InvalidRecord, fault_of
from worker.kafka.reader import Reader
from worker.ports import WriteRefused

pytestmark = pytest.mark.promise("P11")

PLACE = TopicPartition("topic", 0)
THROTTLE_S = 30.0


def batch() -> bytes:
    """Return one record as a broker would give it."""
    builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 10_000)
    builder.append(0, timestamp=1, key=None, value=b"x", headers=[])
    return bytes(builder.build())


class Keeper:
    """A cluster that throttles, and that lets nobody ask for a coordinator."""

    current = None

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def send(self, *_: object, **__: object) -> Any:
        """Answer a fetch."""
        parts: list[tuple[Any, ...]] = [(PLACE.partition, 0, 1, 1, [], self._data)]
        return SimpleNamespace(
            API_VERSION=4, throttle_time_ms=int(THROTTLE_S * 1000), topics=[(PLACE.topic, parts)]
        )

    async def ready(self) -> Any:
        """Return itself as the client."""
        return self

    async def coordinator_lookup(self, *_: object) -> int:
        """Refuse to name a coordinator."""
        raise kafka.TransactionalIdAuthorizationFailed


def reader(keeper: Keeper) -> Reader:
    """Return a reader of that cluster."""
    made = Reader(Connection(bootstrap_servers="nowhere:1"), role="x")
    made._keeper = keeper  # type: ignore[assignment]  # noqa: SLF001 - the cluster is a test's
    return made


@pytest.mark.fault("a quota of the cluster throttles the reads")
@pytest.mark.parametrize(("data", "waits_s"), [(batch(), 0.0), (b"", THROTTLE_S)])
def test_records_in_hand_do_not_wait_for_the_quota(data: bytes, waits_s: float) -> None:
    """A throttled answer with records is handed on at once; an empty one ends the throttle first."""
    loop = SimLoop()

    async def story() -> None:
        found = await reader(Keeper(data)).fetch_from(
            1, {PLACE: 0}, committed=False, wait_ms=10, partition_bytes=1_000
        )
        assert found[PLACE].error is None
        assert len(found[PLACE].records) == (1 if data else 0)
        assert loop.time() == pytest.approx(waits_s, abs=0.1)

    run(loop, story())


@pytest.mark.fault("no right to the transactional ids")
async def test_who_may_not_ask_knows_nothing_of_the_last_transaction() -> None:
    """Without the right to a transactional id nothing is known of it, at once: the fence says the rest."""
    async with asyncio.timeout(1):
        assert await reader(Keeper()).last_transaction("unbinding-0") is None


@pytest.mark.parametrize(
    ("error", "of_input"),
    [
        (kafka.MessageSizeTooLargeError(), True),
        (kafka.RecordListTooLargeError(), True),
        (kafka.InvalidTimestampError(), True),
        (InvalidRecord(), True),
        (kafka.TopicAuthorizationFailedError(), False),
        (kafka.UnknownTopicOrPartitionError(), False),
        (kafka.PolicyViolationError(), False),
    ],
)
def test_a_refusal_tells_whether_it_is_of_the_record(error: Exception, of_input: bool) -> None:
    """Only what a record is lets the broker take its neighbours; a right or a topic concerns them all."""
    fault = fault_of(error, doing="write")
    assert isinstance(fault, WriteRefused)
    assert fault.of_input is of_input
