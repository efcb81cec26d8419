"""Another producer leaves a transaction open, in a journal or among the requests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from contracts.topics import LogicalTopic
from tests.faults.inputs.house import SESSION_MS
from tests.faults.inputs.side_by_side import came_well, play_side_by_side
from tests.faults.stage import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.inputs.drafts import Draft
    from tests.faults.inputs.house import House
    from tests.faults.inputs.side_by_side import Play, Played
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P10")]


@asynccontextmanager
async def foreign(
    house: House, topic: LogicalTopic, *, key: bytes | None, value: bytes | None, draft: Draft | None = None
) -> AsyncIterator[AIOKafkaProducer]:
    """Open a transaction with one record in partition 0, and leave it open."""
    producer = AIOKafkaProducer(
        bootstrap_servers=house.connection.bootstrap_servers,
        transactional_id=f"{house.prefix}foreign",
        transaction_timeout_ms=120_000,
    )
    headers = [] if draft is None else [(name.decode(), content) for name, content in draft.headers]
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(house.name(topic), key=key, value=value, partition=0, headers=headers)
        yield producer


async def restore_behind(house: House) -> None:
    """Have a shard restore behind an open transaction until it says so, and abort the transaction."""
    async with house.worker() as hired:
        await hired.settled()
        parked = await house.ask(word="cancel-fail")
        await house.ended(parked, "parked")
    async with (
        foreign(house, LogicalTopic.JOURNAL, key=b"foreign", value=b"open") as producer,
        house.worker() as hired,
    ):
        journal = house.name(LogicalTopic.JOURNAL)
        await hired.says(
            f"shard 0: restore of {journal}/0 stands still", "kafka-transactions.sh find-hanging"
        )
        await hired.served(await house.ask(1))
        await producer.abort_transaction()
        await hired.settled()
        await house.ended(await house.ask(0), "unbound")
        await house.rest()
        assert await house.ends(parked) == ["parked"]


async def restore_for_long(house: House) -> None:
    """Have a shard restore for longer than a session, and see that nothing was revoked."""
    loop = asyncio.get_running_loop()
    async with house.worker() as hired:
        await hired.settled()
    async with (
        foreign(house, LogicalTopic.JOURNAL, key=b"foreign", value=b"open") as producer,
        house.worker(UNBINDING_KAFKA__RESTORE_TIMEOUT="60s") as hired,
    ):
        await until(lambda: hired.diary.count_of("shard.claimed") == 2, within_s=60, what="shard 0 restores")
        over_at = loop.time() + 1.5 * SESSION_MS / 1000
        await until(lambda: loop.time() > over_at, within_s=60, what="a session and a half is over")
        waits = await house.ask(0)
        assert hired.finished(waits) == []
        await producer.abort_transaction()
        await house.ended(waits, "unbound")
        assert hired.diary.count_of("partitions.revoked") == 0
        assert hired.diary.count_of("partitions.assigned") == 1
        assert hired.diary.count_of("shard.claimed") == 2
        (took_ms,) = [
            fields["duration_ms"]
            for event, fields in hired.diary.lines
            if event == "shard.restored" and fields["partition"] == 0
        ]
        assert isinstance(took_ms, int)
        assert took_ms > SESSION_MS
        await house.rest()


async def request_behind(house: House, *, commits: bool) -> None:
    """Have a request wait behind an open transaction until it is told, and end the transaction."""
    draft = house.drafting.draft(0)
    record = draft.record()
    async with house.worker() as hired:
        await hired.settled()
        async with foreign(
            house, LogicalTopic.REQUESTS, key=record.key, value=record.value, draft=draft
        ) as producer:
            behind, other = await house.ask(0), await house.ask(1)
            await hired.served(other)
            await hired.says(
                f"{house.name(LogicalTopic.REQUESTS)}/0 stands still at offset 0",
                "a transaction that stands open hides the rest",
            )
            assert hired.finished(behind) == []
            if commits:
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
            await house.ended(behind, "unbound")
            await house.rest()
            assert await house.ends(draft) == (["unbound"] if commits else [])
            await until(lambda: hired.troubles() == "", within_s=60, what="health says that all is well")


@pytest.fixture(scope="module")
def played(guarded: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play them side by side: most of their time is waiting."""
    plays: dict[str, Play] = {
        "restore": restore_behind,
        "long restore": restore_for_long,
        "committed": partial(request_behind, commits=True),
        "aborted": partial(request_behind, commits=False),
    }
    return play_side_by_side(plays, kafka=guarded, directories=tmp_path_factory)


@pytest.mark.fault("a foreign open transaction in the journal during a restore")
def test_restore_behind_an_open_transaction(played: Played) -> None:
    """A restore waits behind a foreign open transaction, says so, and ends once that is over."""
    came_well(played, "restore")


@pytest.mark.fault("a restore that takes longer than the session")
def test_a_long_restore_keeps_the_membership(played: Played) -> None:
    """A shard that restores for longer than a session stays its worker's: no partition is given up."""
    came_well(played, "long restore")


@pytest.mark.parametrize("end", ["committed", "aborted"])
@pytest.mark.fault("a foreign open transaction among the requests")
def test_requests_behind_an_open_transaction(played: Played, end: str) -> None:
    """Requests behind a foreign open transaction wait in words, and are served in order once it is over."""
    came_well(played, end)
