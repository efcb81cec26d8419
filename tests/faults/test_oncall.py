"""Those on call of a soak order everything that people order, from a seed, for letters as they really are."""

from __future__ import annotations

from random import Random

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.commands import DiscardRequested, ReplayFrom, ReplayRequested, read_command
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import Reason
from contracts.topics import LogicalTopic
from tests.faults.oncall import GONE_MS, Letters, OnCall
from tests.faults.stage import PARTITIONS
from tests.simulation.cluster import Stored

NOW = 1_767_225_600_000
COUNT = 60


def record(number: int, *, reason: Reason = Reason.FAILED, replays: int = 0, stands: bool = True) -> Stored:
    """Return a record of the dead-letter topic."""
    headers = LetterHeaders(
        reason=reason,
        sequence=number + 1,
        origin=Origin("unbinding.requests", number % PARTITIONS, number),
        first_parked_at=NOW,
        parked_at=NOW,
        replays=replays,
        saga_id=f"{number:032x}",
        binding_id=f"binding-{number}",
    )
    return Stored(
        topic="unbinding.dead-letters",
        partition=number % PARTITIONS,
        offset=number,
        timestamp_at=NOW,
        key=headers.key.encode(),
        value=b"sealed" if stands else None,
        headers=tuple(headers.to_headers()) if stands else (),
        transaction=None,
        appended=NOW * 2,
    )


def some_letters() -> Letters:
    """Return letters of every reason, some replayed before, some gone."""
    letters = Letters()
    for number in range(COUNT):
        reason = list(Reason)[number % len(Reason)]
        letters.take(record(number, reason=reason, replays=number % 4))
    for number in range(0, COUNT, 10):
        letters.take(record(number, stands=False))
    return letters


def make_oncall(seed: int) -> OnCall:
    """Return people who decide by this seed."""
    return OnCall(random=Random(seed), partitions=PARTITIONS)  # noqa: S311 - a seed, no secret


def test_letters_stand_until_they_go() -> None:
    """A letter stands from its record to its tombstone, and is known as gone then."""
    letters = some_letters()
    assert len(letters.standing) == COUNT - 6
    assert [letter.key for letter in letters.gone] == [f"{number:032x}" for number in range(0, COUNT, 10)]


def test_orders_come_from_their_seed() -> None:
    """One seed and the same letters give the same commands."""
    looks = [make_oncall(3).orders(some_letters(), now_at=NOW) for _ in range(2)]
    assert looks[0] == looks[1]
    assert looks[0] != make_oncall(4).orders(some_letters(), now_at=NOW)


def test_every_kind_is_ordered() -> None:
    """A few minutes of looks order every kind of command, for a letter at its sequence or knowingly not."""
    oncall, letters = make_oncall(5), some_letters()
    orders = [order for _ in range(300) for order in oncall.orders(letters, now_at=NOW)]
    assert oncall.ordered.keys() == {
        *("replay", "replay-from-start", "replay-forced", "discard", "same twice", "by two people"),
        *("stale", "wrong partition", "for a gone letter", "junk"),
    }
    assert {order.topic for order in orders} == {LogicalTopic.COMMANDS}
    starts, partitions, ahead = set(), set(), set()
    for order in orders:
        try:
            command = read_command(read_event(order.value, order.headers))
        except UnreadableEvent:
            continue
        assert isinstance(command, ReplayRequested | DiscardRequested)
        if isinstance(command, ReplayRequested):
            starts.add(command.resume_from)
        number = int(command.letter, 16)
        partitions.add(order.partition == number % PARTITIONS)
        ahead.add(command.expected_sequence - number)
    assert starts == set(ReplayFrom)
    assert partitions == {True, False}
    assert ahead == {1, 2}


def test_nothing_is_ordered_for_what_went_long_ago() -> None:
    """A letter that has gone is ordered for in its first moments only: later it may be forgotten."""
    letters = some_letters()
    letters.standing.clear()
    oncall = make_oncall(6)
    for _ in range(300):
        oncall.orders(letters, now_at=NOW + GONE_MS + 1)
    assert oncall.ordered.keys() == {"junk"}
