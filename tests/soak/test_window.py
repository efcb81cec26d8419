"""A window judges what it sees, forgets what has come to rest, and knows it when it comes again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from contracts.states import State, Step
from contracts.topics import TOPICS, LogicalTopic
from tests.faults.test_judgement import START, TOKEN, Shelf, call, good, line, shelf_of, state
from tests.soak.window import QUIET_MS, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.diary import Line
    from tests.faults.judgement import Remains
    from tests.faults.payment_side import LedgerCall
    from tests.faults.stage import Freeze
    from tests.simulation.cluster import Stored

LATER = START + 10 * QUIET_MS
STUCK_MS = 100 * QUIET_MS
DONE = (Step.CONSULT, Step.CANCEL_TOKEN)
_TOPIC_OF = {TOPICS[topic].name: topic for topic in LogicalTopic}


@dataclass
class Library:
    """Records that were written by hand, shown to a window once."""

    shelf: Shelf
    window: Window
    records: list[tuple[LogicalTopic, Stored]] = field(default_factory=list)
    shown: int = 0

    async def catch_up(self) -> None:
        """Show the window what is new."""
        everything = [
            (_TOPIC_OF[topic], stored) for (topic, _), found in self.shelf.records.items() for stored in found
        ]
        everything.sort(key=lambda entry: entry[1].appended)
        for topic, stored in everything[self.shown :]:
            if self.window.take(topic, stored):
                self.records.append((topic, stored))
        self.shown = len(everything)

    def kept(self) -> Iterable[tuple[LogicalTopic, Stored]]:
        """Give what is kept."""
        return list(self.records)

    def forget(self, past: Callable[[LogicalTopic, Stored], bool]) -> None:
        """Let go."""
        self.records = [entry for entry in self.records if not past(*entry)]


@dataclass
class Theatre:
    """A stage that nobody has played on."""

    remains: Remains
    archive: Library
    freezes: Sequence[Freeze] = ()
    ends: dict[str, int] = field(default_factory=dict)
    shaken: Sequence[tuple[int, int]] = ()
    call_ms: int = 2_000

    def lines(self) -> Sequence[Line]:
        """Give the log lines."""
        return self.remains.lines

    async def ledger(self, *, after: int = 0) -> Sequence[LedgerCall]:
        """Give the calls."""
        return [found for found in self.remains.ledger if found.number > after]


def theatre(remains: Remains) -> tuple[Window, Theatre]:
    """Return a window on what was left by hand."""
    window = Window(again_s=0)
    return window, Theatre(remains=remains, archive=Library(shelf=shelf_of(remains), window=window))


async def look(window: Window, stage: Theatre, *, now_at: int = LATER) -> set[str]:
    """Return the promises that a look finds broken."""
    found = await window.look(stage, now_at=now_at, stuck_ms=STUCK_MS)
    return {violation.promise for violation in found}


async def test_what_has_come_to_rest_is_forgotten() -> None:
    """A saga that ended long ago is judged as a whole, counted, and let go with its calls."""
    window, stage = theatre(good())
    assert await look(window, stage) == set()
    assert stage.archive.records == []
    assert window.calls == {}
    assert window.tally.ends == {"unbound": 1}
    assert window.tally.calls == {"consult answered": 1, "cancel_token answered": 1}
    assert await look(window, stage) == set()


async def test_what_is_young_is_kept() -> None:
    """A saga that has just ended is kept: somebody may still ask again."""
    window, stage = theatre(good())
    assert await look(window, stage, now_at=START + QUIET_MS // 2) == set()
    assert len(stage.archive.records) == 5
    assert window.tally.ends == {}


async def test_an_event_of_the_forgotten_is_known() -> None:
    """An event of a binding that was forgotten breaks P2, even if it is that of a saga that begins."""
    window, stage = theatre(good())
    assert await look(window, stage) == set()
    state(stage.archive.shelf, 1, LATER, State.REQUESTED)
    found = await window.look(stage, now_at=LATER, stuck_ms=STUCK_MS)
    assert "an event of a binding that had come to rest" in {violation.what for violation in found}


async def test_a_call_for_the_forgotten_is_known() -> None:
    """A call for a token whose saga was forgotten breaks P3."""
    window, stage = theatre(good())
    assert await look(window, stage) == set()
    stage.remains = replace(stage.remains, ledger=[*stage.remains.ledger, call(9, Step.CONSULT, LATER)])
    assert "P3" in await look(window, stage)


async def test_a_lost_request_is_found_on_the_way() -> None:
    """A request that nobody serves for longer than anything may take breaks P1 before the soak ends."""
    remains = good()
    shelf_of(remains).records = {
        place: found for place, found in shelf_of(remains).records.items() if "requests" in place[0]
    }
    window, stage = theatre(replace(remains, ledger=[]))
    assert await look(window, stage) == set()
    assert len(stage.archive.records) == 1
    assert await look(window, stage, now_at=START + 2 * STUCK_MS) == {"P1"}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda shelf: state(shelf, 4, START + 300, State.UNBOUND, done=DONE), id="twice"),
        pytest.param(lambda shelf: state(shelf, 6, START + 300, State.UNBOUND, done=DONE), id="gap"),
    ],
)
async def test_a_broken_order_is_found(broken: Callable[[Shelf], None]) -> None:
    """An event that was published twice, or after a gap, breaks P2 at the next look."""
    remains = good()
    broken(shelf_of(remains))
    window, stage = theatre(remains)
    assert await look(window, stage, now_at=START + 1_000) == {"P2"}


async def test_a_token_in_clear_is_found() -> None:
    """A token in what a worker wrote, or logged, breaks P8."""
    remains = good()
    shelf = shelf_of(remains)
    states = next(place for place in shelf.records if "states" in place[0])
    first = shelf.records[states][0]
    shelf.records[states][0] = replace(first, headers=(*first.headers, ("x", b"oh: " + TOKEN.encode())))
    assert await look(*theatre(remains)) == {"P8"}
    window, stage = theatre(good())
    window.notes.watch("a-1.err", b"oh: " + TOKEN.encode())
    assert await look(window, stage) == {"P8"}


async def test_a_crash_in_a_log_is_found() -> None:
    """A shard that crashed inside a worker is told, however well all ended."""
    remains = good()
    crashed = line("a-1", START, "shard.crashed")
    assert await look(*theatre(replace(remains, lines=[*remains.lines, crashed]))) == {"P10"}
