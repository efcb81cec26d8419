"""An agreement's cancel in doubt is asked about before it is repeated (AlipayHK, queryByAuthInfo)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from contracts.states import Evidence, Outcome, Reason, Step
from tests.shard.desk import DONE, FAILED, SILENCE, Desk, home
from tests.shard.test_lanes import AGREEMENT
from worker.saga.results import Result, ResultClass

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.promise("P3")

A = home("a")
DAY_S = 24 * 3_600
UNDECIDED = Result(
    result_class=ResultClass.SOON,
    outcome=Outcome.UNKNOWN,
    code="UNKNOWN_EXCEPTION",
    undecided=True,
    verified=True,
)
DOUBT = Result(
    result_class=ResultClass.CONFIRM_FIRST, outcome=Outcome.FAILURE, code="SYSTEM_ERROR", verified=True
)
QUERY_SILENT = Result(result_class=ResultClass.SOON, outcome=Outcome.UNKNOWN, code="NO_ANSWER")
"""A query that nobody answered: it cannot have had an effect of its own."""
ENDED = Result(
    result_class=ResultClass.DONE_ALREADY, outcome=Outcome.SUCCESS, evidence=Evidence.QUERY, verified=True
)
LIVES = Result(result_class=ResultClass.STILL_LIVE, outcome=Outcome.SUCCESS, verified=True)


def ask(desk: Desk, answers: Sequence[Result] = (), **data: Any) -> None:
    """Request the end of an agreement whose calls are answered so."""
    desk.hub.answers[Step.CANCEL_AGREEMENT] += answers
    desk.request(A, None, agreement=AGREEMENT, **data)


def queries(desk: Desk) -> list[bool]:
    """Tell of each attempt that began whether it asks first."""
    return [call.query for call in desk.hub.calls]


@pytest.mark.parametrize("first", [UNDECIDED, SILENCE, DOUBT], ids=["U", "silence", "words not listed"])
def test_a_cancel_in_doubt_is_asked_about(desk: Desk, first: Result) -> None:
    """After `U`, silence or unknown words the next call asks; an agreement that is gone ends the saga."""

    async def story() -> None:
        await desk.open()
        ask(desk, [first, ENDED])
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, True]
        assert desk.told() == ["requested", "waiting", "revoked", "unbound"]
        assert [event.get("evidence") for event in desk.states()[2:]] == ["query", "query"]

    desk.play(story())


def test_an_agreement_that_lives_is_cancelled_at_once(desk: Desk) -> None:
    """The query says that it lives: the cancel is repeated without a wait and without asking again."""

    async def story() -> None:
        await desk.open()
        ask(desk, [SILENCE, LIVES])
        await desk.until(lambda: len(desk.hub.calls) == 2)
        asked_at = desk.now()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.now() - asked_at < 2_000
        assert queries(desk) == [False, True, False]
        assert desk.told() == ["requested", "waiting", "revoked", "unbound"]
        assert "evidence" not in desk.states()[-1]

    desk.play(story())


def test_a_cancel_repeated_after_a_query_can_be_in_doubt_anew(desk: Desk) -> None:
    """Each doubt is settled by a query of its own."""

    async def story() -> None:
        await desk.open()
        ask(desk, [SILENCE, LIVES, DOUBT, LIVES, DONE])
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, True, False, True, False]
        assert desk.told().count("waiting") == 2

    desk.play(story())


def test_a_query_inside_the_call_makes_the_repetition_wait(desk: Desk) -> None:
    """The hub asked after the cancel itself and it lives: the repetition waits, so they do not chase on."""

    async def story() -> None:
        await desk.open()
        ask(desk, [LIVES])
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, False]
        assert desk.told() == ["requested", "waiting", "revoked", "unbound"]

    desk.play(story())


@pytest.mark.parametrize(
    "again", [DOUBT, SILENCE, QUERY_SILENT], ids=["doubt", "silence", "silence of the query"]
)
def test_a_doubt_that_a_query_leaves_is_asked_about_again(desk: Desk, again: Result) -> None:
    """A query without a clear word waits and is made again; the cancel is not repeated meanwhile."""

    async def story() -> None:
        await desk.open()
        ask(desk, [DOUBT, again, again, ENDED])
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, True, True, True]
        assert desk.told().count("waiting") == 3

    desk.play(story())


@pytest.mark.fault("the worker is killed while a cancel is in doubt")
@pytest.mark.parametrize("when", ["waiting", "calling"])
def test_a_doubt_survives_a_restart(desk: Desk, when: str) -> None:
    """Killed while it waits, or while the cancel is on its way, the next owner asks first."""

    async def story() -> None:
        await desk.open()
        if when == "calling":
            desk.hub.slow = asyncio.Event()
        ask(desk, [SILENCE] if when == "waiting" else [])
        await desk.until(lambda: desk.hub.calls)
        if when == "waiting":
            await desk.until(lambda: "waiting" in desk.told())
        await desk.crash()
        if desk.hub.slow is not None:
            desk.hub.slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, True]

    desk.play(story())


def test_a_doubt_survives_parking_and_a_replay(desk: Desk) -> None:
    """A person replays the letter of a cancel in doubt: it is asked about, after a restart too."""

    async def story() -> None:
        await desk.open()
        ask(desk, [SILENCE, FAILED])
        await desk.until(desk.letters)
        await desk.crash()
        ((key, letter),) = desk.letters().items()
        desk.hub.answers[Step.CANCEL_AGREEMENT] = [ENDED]
        desk.command(key, letter.sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert queries(desk) == [False, True, True]

    desk.play(story())


def test_the_next_request_inherits_the_doubt(desk: Desk) -> None:
    """A parked cancel in doubt: the next request for that agreement asks first, and its end closes both."""

    async def story() -> None:
        await desk.open()
        ask(desk, [SILENCE, FAILED])
        await desk.until(desk.letters)
        ask(desk, [ENDED])
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert queries(desk) == [False, True, True]
        assert desk.letters() == {}

    desk.play(story())


@pytest.mark.parametrize(
    "turns", [[SILENCE], [DOUBT], [SILENCE, LIVES]], ids=["silence", "doubt", "it lives every time"]
)
def test_a_doubt_that_is_never_settled_is_parked(desk: Desk, turns: list[Result]) -> None:
    """After a day of waits the saga is parked as `outcome_unknown`, with debits blocked."""

    async def story() -> None:
        await desk.open()
        ask(desk, turns * 100)
        await desk.rest(DAY_S + 60)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.OUTCOME_UNKNOWN
        assert desk.states()[-1]["debits"] == "blocked"
        assert 10 < len(desk.hub.calls) < 100
        calls = len(desk.hub.calls)
        await desk.rest(DAY_S)
        assert len(desk.hub.calls) == calls

    desk.play(story())
