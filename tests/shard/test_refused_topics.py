"""A topic that refuses every write parks one request, and no more, however long it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from contracts.states import Reason
from contracts.topics import LogicalTopic
from tests.shard.desk import Desk, home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.ports import Write

pytestmark = pytest.mark.promise("P10")

MINUTE_S = 60
DAY_MINUTES = 24 * 60


def tells(writes: Sequence[Write]) -> bool:
    """Tell whether a transaction writes to the topic of the states."""
    return any(write.topic is LogicalTopic.STATES for write in writes)


def ask(desk: Desk, number: int) -> None:
    """Send so many requests, each of its own binding and token."""
    for one in range(number):
        desk.request(home(f"binding-{one}"), f"token-{one}")


@pytest.mark.fault("a topic refuses every write for a day")
def test_a_day_of_refusals_parks_one_request(desk: Desk) -> None:
    """A topic that refuses for a day parks one request, `why` says so all the time, and then all go on."""

    async def story() -> None:
        await desk.open()
        desk.log.refuses = tells
        ask(desk, 120)
        await desk.until(lambda: "refuses" in desk.why())
        whys = []
        for _ in range(DAY_MINUTES):
            await desk.rest(MINUTE_S)
            whys.append(desk.why())
        assert [letter.reason for letter in desk.letters().values()] == [Reason.UNWRITABLE]
        assert all("refuses" in why for why in whys)
        desk.log.refuses = lambda _: False
        await desk.until(lambda: desk.told().count("unbound") == 119)
        assert len(desk.letters()) == 1
        assert desk.shard.why is None

    desk.play(story())


@pytest.mark.fault("a topic refuses every write for a day")
def test_a_topic_that_refuses_is_asked_less_and_less_often(desk: Desk) -> None:
    """The gaps between the tries grow to five minutes: a day takes some three hundred restores."""

    async def story() -> None:
        await desk.open()
        desk.log.refuses = tells
        ask(desk, 20)
        await desk.until(lambda: "refuses" in desk.why())
        before = desk.log.restores
        await desk.rest(DAY_MINUTES * MINUTE_S)
        assert desk.log.restores - before < 300

    desk.play(story())


@pytest.mark.fault("a topic refuses every write, and the next day again")
def test_a_topic_that_refuses_again_parks_one_request_again(desk: Desk) -> None:
    """A commit that succeeds ends the blame: the next trouble is judged afresh."""

    async def all_go_on(most: int) -> None:
        await desk.until(lambda: desk.told().count("unbound") == most)

    async def story() -> None:
        await desk.open()
        for parked in (1, 2):
            desk.log.refuses = tells
            ask(desk, 10)
            await desk.until(lambda: "refuses" in desk.why())
            await desk.rest(60 * MINUTE_S)
            desk.log.refuses = lambda _: False
            await all_go_on(9 * parked)
            assert len(desk.letters()) == parked

    desk.play(story())


@pytest.mark.fault("the right to the transactional ids is taken away")
def test_a_refused_fence_says_why_all_the_time(desk: Desk) -> None:
    """A shard that may not even fence after a refusing topic says why, and parks nobody for it."""

    async def story() -> None:
        await desk.open()
        desk.log.refuses = tells
        ask(desk, 10)
        await desk.until(lambda: "refuses" in desk.why())
        desk.log._faults.refuse_fence = True  # noqa: SLF001 - the broker's rights are a test's to take
        await desk.rest(60 * MINUTE_S)
        assert "transactional id" in desk.why()
        desk.log._faults.refuse_fence = False  # noqa: SLF001 - and to give back
        await desk.until(lambda: "test refuses" in desk.why())
        await desk.rest(60 * MINUTE_S)
        assert "test refuses" in desk.why()
        assert len(desk.letters()) == 1
        desk.log.refuses = lambda _: False
        await desk.until(lambda: desk.told().count("unbound") == 9)

    desk.play(story())


@pytest.mark.fault("records that the topic refuses for good, one after the other")
def test_records_refused_for_what_they_are_are_all_parked(desk: Desk) -> None:
    """Where the records themselves are refused, each rest finds one more, and the others are served."""

    async def story() -> None:
        refused = {home(f"binding-{one}").encode() for one in range(4)}
        desk.log.of_input = True
        desk.log.refuses = lambda writes: any(
            write.topic is LogicalTopic.STATES and write.key in refused for write in writes
        )
        await desk.open()
        ask(desk, 8)
        await desk.until(lambda: desk.told().count("unbound") == 4, limit=3_600)
        assert [letter.reason for letter in desk.letters().values()] == [Reason.UNWRITABLE] * 4

    desk.play(story())
