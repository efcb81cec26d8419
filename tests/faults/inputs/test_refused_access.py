"""What a worker may do is taken away, at its start and while it runs, and given again.

The cluster has a real authorizer. All cases are played side by side: most of their time is waiting.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from aiokafka import TopicPartition

from contracts.topics import LogicalTopic, topic_name
from tests.faults.inputs.acls import (
    Operation,
    Permission,
    needed,
    on_group,
    on_topic,
    on_transactional_ids,
    open_acls,
)
from tests.faults.inputs.bad_commands import draft_command
from tests.faults.inputs.batches import encode
from tests.faults.inputs.house import PARTITIONS
from tests.faults.inputs.side_by_side import came_well, play_side_by_side
from tests.faults.stage import now_ms, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.inputs.house import Hired, House
    from tests.faults.inputs.side_by_side import Play, Played
    from worker.sandbox.local_kafka import LocalKafka

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P2", "P10")]

_QUICK_TRIES: Final = 6
"""A shard may try so often in quick succession to find a culprit."""
_RETRY_S: Final = 4.0
"""Then it tries at gaps of at least this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One thing that is forbidden; `says` is what health must say, with `{prefix}` for the topics' prefix."""

    name: str
    permission: Callable[[House], Permission]
    says: tuple[str, ...]
    serves: tuple[int, ...] = ()
    """The partitions whose requests are served all the same."""
    requests: int = 1
    """How many requests are sent into each partition."""
    word: str = "allow"
    """How the token of the request in partition 0 behaves."""


@dataclass(slots=True, kw_only=True)
class Spell:
    """One time of being forbidden something: what was seen."""

    said: str
    served: dict[int, list[list[str]]]
    """The courses of the requests by partition, when it ended."""
    claims: int
    seconds: float


def _topic(topic: LogicalTopic, operation: Operation) -> Callable[[House], Permission]:
    return lambda house: on_topic(topic, operation, prefix=house.prefix)


DENIALS: Final = (
    Denial(
        name="Write on the journal",
        permission=_topic(LogicalTopic.JOURNAL, Operation.WRITE),
        says=("shard 0", "({prefix}unbinding.journal): no permission; grant Write on the topic"),
    ),
    Denial(
        name="Write on the states",
        permission=_topic(LogicalTopic.STATES, Operation.WRITE),
        says=("shard 0", "({prefix}binding.states): no permission; grant Write on the topic"),
        requests=3,  # the first is taken for the culprit, and parked
    ),
    Denial(
        name="Write on the dead letters",
        permission=_topic(LogicalTopic.DEAD_LETTERS, Operation.WRITE),
        says=("shard 0", "({prefix}unbinding.dead-letters): no permission; grant Write on the topic"),
        serves=(1,),
        word="cancel-fail",
    ),
    Denial(
        name="Read on the requests",
        permission=_topic(LogicalTopic.REQUESTS, Operation.READ),
        says=("{prefix}unbinding.requests/0 cannot be read", "no permission; grant Read on the topic"),
    ),
    Denial(
        name="Read on the commands",
        permission=_topic(LogicalTopic.COMMANDS, Operation.READ),
        says=("{prefix}unbinding.commands/0 cannot be read", "no permission; grant Read on the topic"),
        serves=(0, 1),
    ),
    Denial(
        name="Read on the notices",
        permission=_topic(LogicalTopic.NOTICES, Operation.READ),
        says=("{prefix}unbinding.notices/0 cannot be read", "no permission; grant Read on the topic"),
        serves=(0, 1),
    ),
    Denial(
        name="Read on the group",
        permission=lambda house: on_group(house.application),
        says=("membership in group {prefix}app", "no permission; grant Read on the group"),
    ),
    Denial(
        name="Write on the transactional ids",
        permission=lambda house: on_transactional_ids(house.application, Operation.WRITE),
        says=("shard 0", "{prefix}app-0", "grant Write and Describe on the transactional ids"),
    ),
)


async def endure(case: Denial, house: House) -> None:
    """Forbid it at the start and again while the worker runs; allow it each time, and wait for rest."""
    spells = []
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
        await acls.deny(case.permission(house))
        async with house.worker(logged_in=True) as hired:
            spells.append(await _spell(case, house, hired))
            await acls.deny_no_more(case.permission(house))
            await house.rest()
            await hired.settled()
            await acls.deny(case.permission(house))
            spells.append(await _spell(case, house, hired))
            await acls.deny_no_more(case.permission(house))
            await house.rest()
            await hired.settled()
    for spell in spells:
        for partition in case.serves:
            assert [course[-1] for course in spell.served[partition]] == ["unbound"]
        assert spell.claims <= PARTITIONS * (_QUICK_TRIES + spell.seconds / _RETRY_S)


async def _spell(case: Denial, house: House, hired: Hired) -> Spell:
    loop = asyncio.get_running_loop()
    began, claims = loop.time(), hired.diary.count_of("shard.claimed")
    asked = {
        partition: await house.ask(partition, word=case.word if partition == 0 else "allow")
        for partition in range(PARTITIONS)
    }
    for partition in range(PARTITIONS):
        for _ in range(case.requests - 1):
            await house.ask(partition)
    said = await hired.says(*(words.format(prefix=house.prefix) for words in case.says))
    for partition in case.serves:
        await house.ended(asked[partition], "unbound")
    return Spell(
        said=said,
        served={partition: await house.courses(draft) for partition, draft in asked.items()},
        claims=hired.diary.count_of("shard.claimed") - claims,
        seconds=loop.time() - began,
    )


async def endure_no_verdicts(house: House) -> None:
    """Forbid the verdicts while a command comes, see that requests go on, and allow them again."""
    verdicts = on_topic(LogicalTopic.VERDICTS, Operation.WRITE, prefix=house.prefix)
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
        async with house.worker(logged_in=True) as hired:
            await hired.settled()
            parked = await house.ask(word="cancel-fail")
            await house.ended(parked, "parked")
            (saga_id,) = await house.sagas(parked)
            await acls.deny(verdicts)
            command = draft_command(1, letter=saga_id, sequence=3, at=now_ms())
            tp = TopicPartition(house.name(LogicalTopic.COMMANDS), 0)
            await house.producer.send(tp, encode([command.record()]))
            named = f"({house.name(LogicalTopic.VERDICTS)}): no permission; grant Write on the topic"
            await until(
                lambda: any(named in cause for cause in hired.diary.causes("transaction.split")),
                within_s=60,
                what="it says what is missing",
            )
            await house.ended(await house.ask(), "unbound")
            assert await house.ends(parked) == ["parked"]
            await acls.deny_no_more(verdicts)
            await house.ended(parked, "discarded", within_s=90)
            await house.rest()


async def endure_full_journal(house: House) -> None:
    """Have the journal take no record any more, wait for what is said, and mend it."""
    async with house.worker() as hired:
        await hired.settled()
        # Only a transaction's marker (78 bytes) is small enough.
        await house.configure(LogicalTopic.JOURNAL, max_message_bytes="78")
        drafts = [await house.ask(0) for _ in range(3)]
        await hired.says("shard 0", f"{house.name(LogicalTopic.JOURNAL)}/0", "max.message.bytes")
        await house.configure(LogicalTopic.JOURNAL)
        for draft in drafts:
            await house.ended(draft, "unbound")
        await house.rest()
        assert house.archive.archive(topic_name(LogicalTopic.DEAD_LETTERS), 0) == []


@pytest.fixture(scope="module")
def endured(guarded: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play all cases side by side."""
    plays: dict[str, Play] = {case.name: partial(endure, case) for case in DENIALS}
    plays |= {"no verdicts": endure_no_verdicts, "full journal": endure_full_journal}
    return play_side_by_side(plays, kafka=guarded, directories=tmp_path_factory)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=pytest.mark.fault(f"{case.name} denied")) for case in DENIALS],
)
def test_denied_and_granted(endured: Played, case: Denial) -> None:
    """A worker says what it is forbidden, keeps going what it can, and goes on once it is allowed."""
    came_well(endured, case.name)


@pytest.mark.promise("P7")
@pytest.mark.fault("Write on the verdicts denied")
def test_verdicts_denied(endured: Played) -> None:
    """Where no verdict may be written commands wait, requests go on; each verdict is given later."""
    came_well(endured, "no verdicts")


@pytest.mark.fault("every write to the journal refused while a worker runs")
def test_a_journal_that_takes_nothing(endured: Played) -> None:
    """A journal that takes no record closes the shard in words, parks nobody, and serves once mended."""
    came_well(endured, "full journal")


@pytest.mark.fault("Read on the holds denied")
async def test_holds_denied(house: House) -> None:
    """Whoever may not read the holds calls nobody, takes requests, says why, and calls once it may."""
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
        holds = on_topic(LogicalTopic.HOLDS, Operation.ALL, prefix=house.prefix)
        await acls.deny(holds)
        async with house.worker(logged_in=True) as hired:
            await hired.says("holds: ", f"{house.name(LogicalTopic.HOLDS)}", "grant Read on the topic")
            waits = await house.ask()
            await house.ended(waits, "requested")
            assert hired.diary.count_of("holds.missed") == 1
            await acls.deny_no_more(holds)
            await house.rest()
            assert await house.ends(waits) == ["unbound"]


@pytest.mark.fault("no permission at all on an input")
@pytest.mark.parametrize("topic", [LogicalTopic.REQUESTS, LogicalTopic.COMMANDS])
async def test_forbidden_is_not_missing(house: House, topic: LogicalTopic) -> None:
    """An input that may not even be described is told as forbidden, and not as missing."""
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
        everything = on_topic(topic, Operation.ALL, prefix=house.prefix)
        await acls.deny(everything)
        async with house.worker(logged_in=True) as hired:
            said = await hired.says(house.name(topic), "grant Read on the topic")
            assert "missing" not in said
            await acls.deny_no_more(everything)
            draft = await house.ask()
            await house.ended(draft, "unbound")


@pytest.mark.fault("Read on the journal denied")
async def test_journal_denied(house: House) -> None:
    """A journal that may not be read keeps the shard closed, at once and in words; then it is restored."""
    async with open_acls(house.connection.bootstrap_servers) as acls:
        await acls.allow(needed(application=house.application, prefix=house.prefix))
        async with house.worker(logged_in=True) as hired:
            await hired.settled()
            parked = await house.ask(word="cancel-fail")
            await house.ended(parked, "parked")
        reading = on_topic(LogicalTopic.JOURNAL, Operation.READ, prefix=house.prefix)
        await acls.deny(reading)
        async with house.worker(logged_in=True) as hired:
            await hired.says(f"restore of {house.name(LogicalTopic.JOURNAL)}/0", "grant Read on the topic")
            await acls.deny_no_more(reading)
            await hired.settled()
            await house.rest()
            assert await house.ends(parked) == ["parked"]
