"""Calls that stand in line, decided and not begun, while something comes that forbids them."""

from __future__ import annotations

import asyncio

import pytest
from typing_extensions import override

from contracts.states import Step
from tests.shard.desk import LINE_STOP, SILENCE, Desk, home

pytestmark = pytest.mark.promise("P3", "P11")

A, B, C = home("a"), home("b"), home("c")


class Turnstile(asyncio.Event):
    """The line before a counterpart that is full: it lets as many calls through as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = asyncio.Semaphore(0)

    @override
    async def wait(self) -> bool:  # type: ignore[override] # typeshed: Literal[True]
        return await self._turns.acquire()

    def let(self, calls: int) -> None:
        """Let so many calls through."""
        for _ in range(calls):
            self._turns.release()


@pytest.mark.fault("a line stops while calls for it stand in line")
def test_nobody_in_line_calls_a_stopped_line(desk: Desk) -> None:
    """When the line stops, calls that have not begun do not begin; their sagas wait and go on with it."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        for binding in (A, B, C):
            desk.request(binding, f"token-{binding}")
        await desk.until(lambda: len(desk.hub.asked) == 3)
        desk.hub.answers[Step.CONSULT] = [LINE_STOP]
        line.let(1)
        await desk.until(desk.letters)
        line.let(2)
        await desk.until(lambda: desk.told().count("waiting") == 2)
        assert len(desk.hub.calls) == 1
        line.let(5)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps().count(Step.CONSULT) == 3
        assert len(desk.letters()) == 1

    desk.play(story())


@pytest.mark.fault("a hold comes while calls stand in line")
def test_nobody_in_line_calls_under_a_hold(desk: Desk) -> None:
    """A hold that comes while a call stands in line holds it; when it ends the call is made."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        desk.request(A)
        await desk.until(lambda: desk.hub.asked)
        desk.holds.until[Step.CONSULT] = desk.now() + 60_000
        desk.shard.holds_changed()
        line.let(1)
        await desk.until(lambda: desk.told() == ["requested", "held"])
        assert not desk.hub.calls
        line.let(2)
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert desk.now() >= desk.holds.until[Step.CONSULT]

    desk.play(story())


@pytest.mark.fault("it is not known any more what is held, while calls stand in line")
def test_nobody_in_line_calls_while_holds_are_unknown(desk: Desk) -> None:
    """A call that stands in line waits until it is known again what is held."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        desk.request(A)
        await desk.until(lambda: desk.hub.asked)
        desk.holds.read = False
        desk.shard.holds_changed()
        line.let(1)
        await desk.rest()
        assert not desk.hub.calls
        desk.holds.read = True
        desk.shard.holds_changed()
        line.let(2)
        await desk.until(lambda: desk.told()[-1] == "unbound")

    desk.play(story())


@pytest.mark.fault("a revocation stands in line for longer than its permission is good")
def test_a_permission_counts_when_the_revocation_is_decided(desk: Desk) -> None:
    """A permission that grows old in line is not asked for again: with a long line that would never end."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        desk.request(A)
        line.let(1)
        await desk.until(lambda: len(desk.hub.asked) == 2)
        await desk.rest(301)
        line.let(1)
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


@pytest.mark.fault("a repeated revocation stands in line for long")
def test_a_repeated_revocation_needs_no_permission(desk: Desk) -> None:
    """What was attempted is repeated however long it stood in line: the token may be dead by now."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: desk.told()[-1:] == ["waiting"])
        desk.hub.queue = line = Turnstile()
        await desk.until(lambda: len(desk.hub.asked) == 3)
        await desk.rest(301)
        line.let(1)
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_TOKEN]

    desk.play(story())


@pytest.mark.promise("P4")
@pytest.mark.fault("a call stands in line for longer than the patience of its step")
def test_time_in_line_uses_no_patience(desk: Desk) -> None:
    """Patience counts from the first attempt: who stood in line for long is tried as often as others."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        desk.request(A)
        await desk.until(lambda: desk.hub.asked)
        await desk.rest(130)
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        line.let(3)
        await desk.until(lambda: len(desk.told()) > 1)
        assert desk.told()[:2] == ["requested", "waiting"]
        await desk.until(lambda: desk.told()[-1] == "unbound")

    desk.play(story())


@pytest.mark.promise("P4")
@pytest.mark.fault("a consult is held, and then stands in line for longer than the user waits")
def test_time_in_line_after_a_hold_is_the_users(desk: Desk) -> None:
    """At consult the user's time runs on once it was held: it counts from when the step fell due."""

    async def story() -> None:
        await desk.open()
        desk.hub.queue = line = Turnstile()
        desk.holds.until[Step.CONSULT] = desk.now() + 10_000
        desk.request(A)
        await desk.until(lambda: desk.hub.asked)
        await desk.rest(130)
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        line.let(1)
        await desk.until(lambda: desk.told() == ["requested", "held", "lapsed"])

    desk.play(story())
