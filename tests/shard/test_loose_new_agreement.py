"""A letter without a saga never reaches an agreement that was bound while it stood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from contracts.requests import REBINDING_REQUESTED
from contracts.states import Reason, Step
from tests.shard.desk import FAILED, Desk, home
from tests.shard.test_lanes import AGREEMENT, REBIND
from tests.shard.test_new_agreement import ordered
from tests.shard.test_restore import shape
from worker.saga.plan import Profile

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.promise("P3", "P7")

A = home("a")
LARGE = "x" * 2_000


@pytest.fixture
def desk() -> Desk:
    """Return a shard that copies no value as large as ``LARGE``, not started yet."""
    return Desk(record_bytes=1_000)


async def parked(desk: Desk, token: str | None = None, **data: Any) -> str:
    """Let a request be parked without a saga, and return its letter's key."""
    desk.request(A, token, passThroughInfo=LARGE, **data)
    await desk.until(desk.letters)
    ((key, letter),) = desk.letters().items()
    assert (letter.reason, letter.saga_id) == (Reason.TOO_LARGE, None)
    return key


async def offer(desk: Desk) -> None:
    """Let links to bind again be handed out."""
    desk.request(A, None, kind=REBINDING_REQUESTED, **REBIND)
    await desk.until(lambda: "offered" in desk.told())


def hire_with(desk: Desk, steps: Sequence[Step]) -> None:
    """Make a new shard whose profile has these steps."""
    desk.profile = Profile(steps=tuple(steps))
    desk.hire()


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("token", [None, "token-1"])
def test_no_replay_brings_a_cancel_that_may_be_late(desk: Desk, token: str | None, *, offered: bool) -> None:
    """A letter with an agreement is not replayed: nobody knows whether links were offered while it stood."""

    async def story() -> None:
        await desk.open()
        key = await parked(desk, token, agreement=AGREEMENT)
        if offered:
            await offer(desk)
            await desk.crash()
        calls = len(desk.hub.calls)
        orders: list[dict[str, Any]] = [{}, {"force": True}]
        for order in orders:
            verdict = await ordered(desk, key, 0, **order)
            assert (verdict["ruling"], "new agreement" in verdict["because"]) == ("refused", True)
            assert verdict["instead"].startswith(f"unbinding letters discard {key}, and a new request")
        await desk.rest(20)
        assert len(desk.hub.calls) == calls
        assert list(desk.letters()) == [key]
        assert shape(desk.memory) == shape(desk.restored())

    desk.play(story())


def test_what_the_refusal_names_is_lawful(desk: Desk) -> None:
    """The letter can be discarded, and a new request ends token and agreement."""

    async def story() -> None:
        await desk.open()
        key = await parked(desk, "token-1", agreement=AGREEMENT)
        assert (await ordered(desk, key, 0))["ruling"] == "refused"
        assert (await ordered(desk, key, 0, discard=True))["ruling"] == "applied"
        desk.request(A, "token-1", agreement=AGREEMENT)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT]
        assert desk.letters() == {}

    desk.play(story())


@pytest.mark.parametrize("agreement", [None, "dead"])
def test_a_token_is_revoked_by_a_replay_after_an_offer(desk: Desk, agreement: str | None) -> None:
    """A letter without an agreement, or with one that is known to be dead, is replayed for its token."""

    async def story() -> None:
        await desk.open()
        named: dict[str, Any] = {} if agreement is None else {"agreement": AGREEMENT}
        key = await parked(desk, "token-1", **named)
        if agreement is not None:
            await desk.rest(1)
            desk.request(A, None, agreement=AGREEMENT)
            await desk.until(lambda: "unbound" in desk.told())
        await offer(desk)
        calls = len(desk.hub.calls)
        assert (await ordered(desk, key, 0))["ruling"] == "applied"
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert [call.step for call in desk.hub.calls[calls:]] == [Step.CONSULT, Step.CANCEL_TOKEN]
        assert desk.letters() == {}

    desk.play(story())


@pytest.mark.parametrize("restart", [False, True])
def test_no_detour_over_an_invalid_letter_brings_the_cancel(desk: Desk, *, restart: bool) -> None:
    """Replayed as invalid after an offer, then valid under another profile: it is still not replayed."""

    async def story() -> None:
        steps = desk.profile.steps
        hire_with(desk, [step for step in steps if step is not Step.CANCEL_AGREEMENT])
        await desk.open()
        key = await parked(desk, agreement=AGREEMENT)
        await offer(desk)
        assert (await ordered(desk, key, 0))["ruling"] == "applied"
        ((key, letter),) = desk.letters().items()
        assert letter.reason is Reason.INVALID
        await desk.shard.close()
        hire_with(desk, steps)
        await desk.open()
        if restart:
            await desk.crash()
        assert "a rebinding was offered since" in (await ordered(desk, key, letter.sequence))["because"]
        assert shape(desk.memory) == shape(desk.restored())
        assert desk.hub.steps() == [Step.OFFER]

    desk.play(story())


def test_a_replayed_letter_that_parks_again_may_have_seen_an_offer(desk: Desk) -> None:
    """A saga from such a letter keeps that nobody knows: its journal says so, its token is still revoked."""

    async def story() -> None:
        await desk.open()
        key = await parked(desk, "token-1")
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        assert (await ordered(desk, key, 0))["ruling"] == "applied"
        await desk.until(lambda: "parked" in desk.told())
        await desk.crash()
        ((key, letter),) = desk.letters().items()
        assert desk.memory.entries[key].offered_since
        assert (await ordered(desk, key, letter.sequence))["ruling"] == "applied"
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())
