"""The wall clock is set back while a shard is open."""

from __future__ import annotations

import asyncio

import pytest

from contracts.states import Step
from tests.shard.desk import LINE_STOP, SILENCE, Desk, home

pytestmark = pytest.mark.promise("P4", "P11")

A, B = home("a"), home("b")
DAY_MS = 24 * 3_600_000


@pytest.mark.fault("the clock is set back by days while a line is stopped")
@pytest.mark.parametrize("restart", [False, True], ids=["", "and-a-restart"])
def test_a_stopped_line_is_probed_all_the_same(desk: Desk, *, restart: bool) -> None:
    """A probe that lies further ahead than any gap between probes is due: a line does not sleep for days."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [LINE_STOP]
        desk.request(A)
        await desk.until(desk.letters)
        desk.request(B, "token-2")
        await desk.until(lambda: "waiting" in desk.told(B))
        desk.jumped_ms -= 3 * DAY_MS
        if restart:
            await desk.crash()
        await desk.until(lambda: desk.told(B)[-1] in {"unbound", "lapsed"})
        assert desk.told(B)[-1] == "unbound"

    desk.play(story())


@pytest.mark.fault("the clock is set back by an hour between a permission and its use")
def test_a_permission_of_the_future_is_asked_for_again(desk: Desk) -> None:
    """After the clock was set back nobody knows how old a permission is: it is asked for again."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.CANCEL_TOKEN] = desk.now() + 60_000
        desk.request(A)
        await desk.until(lambda: desk.told()[-1:] == ["held"])
        desk.jumped_ms -= 3_600_000
        desk.holds.until.clear()
        desk.shard.holds_changed()
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert desk.hub.steps() == [Step.CONSULT, Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


@pytest.mark.fault("the clock is set back by an hour while a call is under way")
def test_patience_is_not_longer_for_it(desk: Desk) -> None:
    """A step whose first attempt lies ahead by the new clock has its own patience, and not an hour more."""

    async def story() -> None:
        await desk.open()
        desk.jumped_ms += 3_600_000
        desk.hub.answers[Step.CONSULT] = [SILENCE] * 100
        desk.hub.slow = asyncio.Event()
        began = desk.loop.time()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.jumped_ms -= 3_600_000
        desk.hub.slow.set()
        await desk.until(lambda: desk.told()[-1] == "lapsed")
        assert desk.loop.time() - began < 4 * 60

    desk.play(story())
