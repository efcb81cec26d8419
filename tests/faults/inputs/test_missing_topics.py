"""A topic is missing at the start, or is deleted while a worker runs; then it is made (again)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from contracts.topics import LogicalTopic
from tests.faults.inputs.side_by_side import came_well, play_side_by_side
from tests.faults.stage import until
from worker.kafka.topics import check

if TYPE_CHECKING:
    from tests.faults.inputs.house import House
    from tests.faults.inputs.side_by_side import Play, Played
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P10")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """One topic that is missing; `says` is what health must say of it."""

    topic: LogicalTopic
    says: tuple[str, ...] = ()
    requests: int = 1
    """How many requests are sent into partition 0."""
    word: str = "allow"
    """How the token of the request in partition 0 behaves."""

    @property
    def name(self) -> str:
        """The topic's."""
        return self.topic.value


_TO_DO: Final = "run `unbinding topics check`"
AT_START: Final = (
    Missing(topic=LogicalTopic.REQUESTS, says=("is missing",)),
    Missing(topic=LogicalTopic.COMMANDS, says=("shard 0", "is missing")),
    Missing(topic=LogicalTopic.NOTICES, says=("shard 0", "is missing")),
    Missing(topic=LogicalTopic.HOLDS, says=("holds: ", "is missing")),
    Missing(topic=LogicalTopic.JOURNAL, says=("shard 0", "is missing")),
    # The first is taken for the culprit, and parked.
    Missing(topic=LogicalTopic.STATES, says=("shard 0", "is missing"), requests=3),
    Missing(topic=LogicalTopic.DEAD_LETTERS, says=("shard 0", "is missing"), word="cancel-fail"),
)


async def begin_without(case: Missing, house: House) -> None:
    """Start a worker without the topic, wait for what it says, make the topic, and wait for rest."""
    await house.delete(case.topic)
    async with house.worker() as hired:
        if case.topic is not LogicalTopic.REQUESTS:
            for _ in range(case.requests):
                await house.ask(word=case.word)
        await hired.says(house.name(case.topic), _TO_DO, *case.says)
        await house.make()
        await house.ask(1)
        await house.rest()
        await hired.settled()


async def lose_states(house: House) -> None:
    """Delete the topic of states under a worker, wait for what it says, and make it again."""
    async with house.worker() as hired:
        await hired.settled()
        await hired.served(await house.ask())
        await house.delete(LogicalTopic.STATES)
        _culprit, after = await house.ask(), await house.ask()
        await hired.says("shard 0", house.name(LogicalTopic.STATES), _TO_DO, within_s=90)
        await house.make()
        await hired.served(after, within_s=90)


@pytest.fixture(scope="module")
def played(guarded: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play them side by side: most of their time is waiting."""
    plays: dict[str, Play] = {case.name: partial(begin_without, case) for case in AT_START}
    plays["lose states"] = lose_states
    return play_side_by_side(plays, kafka=guarded, directories=tmp_path_factory)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.fault(f"no topic of {case.name} at the start"))
        for case in AT_START
    ],
)
def test_missing_at_the_start(played: Played, case: Missing) -> None:
    """A worker without one of its topics says which and what to do, and serves once it is there."""
    came_well(played, case.name)


@pytest.mark.fault("topic of states deleted while a worker runs")
def test_states_deleted(played: Played) -> None:
    """A topic deleted under a running worker stops its shard in words; made again, everything goes on."""
    came_well(played, "lose states")


@pytest.mark.fault("a topic with too few partitions")
async def test_too_few_partitions(house: House) -> None:
    """A topic with too few partitions stops the shards that lack theirs, and `check` names it."""
    await house.delete(LogicalTopic.STATES)
    await house.create(LogicalTopic.STATES, partitions=1)
    names = {topic: house.name(topic) for topic in LogicalTopic}

    async def found() -> bool:
        findings = await check(house.connection, names=names, partitions=2, replication=1)
        return f"topic {house.name(LogicalTopic.STATES)} has 1 partitions, not 2" in {
            finding.what for finding in findings
        }

    await until(found, within_s=30, what="`topics check` names the topic")
    async with house.worker() as hired:
        await hired.settled()
        home, _culprit, lost = await house.ask(0), await house.ask(1), await house.ask(1)
        await hired.says("shard 1", f"{house.name(LogicalTopic.STATES)}/1", _TO_DO)
        await hired.served(home)
        assert hired.finished(lost) == []
