"""What a shard has not taken yet is deleted, or its journal is: it stays closed until a person decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic
from tests.faults.stage import until

if TYPE_CHECKING:
    from tests.faults.inputs.drafts import Draft
    from tests.faults.inputs.house import House

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P10")]


@pytest.mark.fault("retention deletes requests before they were taken")
async def test_requests_deleted_beyond_the_position(house: House) -> None:
    """Requests deleted before they were taken are an alarm, never a jump; a person opens the shard."""
    async with house.worker() as hired:
        await hired.settled()
        taken = await house.ask(0)
        await house.ended(taken, "unbound")
    lost = [await house.ask(0), await house.ask(0)]
    other = await house.ask(1)
    await house.trim(LogicalTopic.REQUESTS, 0, start=3)
    async with house.worker() as hired:
        await hired.says(
            "shard 0: partition 0 of requests: the next record to take is at offset 1, the log has 3 to 3",
            "open it with --accept-loss 0",
        )
        await hired.served(other)
        assert hired.diary.count_of("shard.refused") >= 1
    async with house.worker(accept_loss=(0,)) as hired:
        await hired.settled()
        await hired.served(await house.ask(0))
        assert [hired.finished(draft) for draft in lost] == [[], []]


@pytest.mark.promise("P2", "P6")
@pytest.mark.fault("retention deletes requests whose sagas are open")
async def test_requests_deleted_below_the_position(house: House) -> None:
    """Requests that were taken may be deleted while their sagas are open: nothing happens, also not later."""
    async with house.worker() as hired:
        await hired.settled()
        parked, waits = await house.ask(word="cancel-fail"), await house.ask(word="cancel-unknown")
        await house.ended(parked, "parked")
        await until(lambda: _waits(house, waits), within_s=60, what="it waits")
        await house.trim(LogicalTopic.REQUESTS, 0, start=2)
        await house.ended(await house.ask(), "unbound")
        assert hired.troubles() == ""
    async with house.worker() as hired:
        await hired.settled()
        await house.ended(await house.ask(), "unbound")
        assert await house.ends(parked) == ["parked"]
        (course,) = await house.courses(waits)
        assert course[:2] == ["requested", "allowed"]
        assert set(course[2:]) == {"waiting"}


async def _waits(house: House, draft: Draft) -> bool:
    return await house.ends(draft) == ["waiting"]


@pytest.mark.fault("the journal is deleted while no worker runs")
async def test_journal_lost(house: House) -> None:
    """A group commit without a position is loss: the shard stays closed and says what to do."""
    async with house.worker() as hired:
        await hired.settled()
        await house.ended(await house.ask(0), "unbound")
    await house.delete(LogicalTopic.JOURNAL)
    await house.make()
    await house.read_anew()
    waits = await house.ask(0)
    async with house.worker() as hired:
        await hired.says(
            "shard 0: partition 0: the group committed offset",
            "and the journal has no position",
            "open it with --accept-loss 0",
        )
        assert await house.courses(waits) == []
    async with house.worker(accept_loss=(0, 1)) as hired:
        await hired.settled()
        await house.ended(waits, "unbound")


@pytest.mark.fault("the journal is deleted and made anew under an idle shard")
async def test_journal_made_anew_under_an_idle_shard(house: House) -> None:
    """An idle shard does not bury the loss of its journal under its next commit: it closes and says so."""
    async with house.worker() as hired:
        await hired.settled()
        parked = await house.ask(0, word="cancel-fail")
        await house.ended(parked, "parked")
        await house.delete(LogicalTopic.JOURNAL)
        await house.make()
        await house.read_anew()
        await house.ask(0)
        await hired.says("shard 0: partition 0: the group committed offset", "--accept-loss 0", within_s=90)
        assert any("was made anew" in cause for cause in hired.diary.causes("transaction.failed"))


@pytest.mark.fault("the requests are deleted and made anew while a worker runs")
async def test_requests_made_anew(house: House) -> None:
    """Open sagas go on while the topic of requests is gone; made anew, it is told as lost, not skipped."""
    async with house.worker() as hired:
        await hired.settled()
        for _ in range(3):
            await house.ended(await house.ask(0), "unbound")
        waits = await house.ask(0, word="cancel-unknown3")
        await until(lambda: _waits(house, waits), within_s=60, what="it waits")
        await house.delete(LogicalTopic.REQUESTS)
        await house.make()
        await hired.says(
            f"{house.name(LogicalTopic.REQUESTS)}/0 cannot be read", "not in the log any more", within_s=90
        )
        await hired.served(waits)
    async with house.worker() as hired:
        await hired.says("the next record to take is at offset 4, the log has 0 to 0", "--accept-loss 0")
    async with house.worker(accept_loss=(0, 1)) as hired:
        await hired.settled()
        await hired.served(await house.ask(0))
