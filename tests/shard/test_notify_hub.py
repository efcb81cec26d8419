"""The wallet's last step, the announcement of a dead token (Alipay+, authNotify): owed, and never undone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.states import Reason, Step
from contracts.wire import rfc3339
from tests.shard.desk import FAILED, SILENCE, Desk, home
from worker.ports import Input
from worker.saga.plan import PROFILE_STEPS, Profile, ProfileName

pytestmark = pytest.mark.promise("P4", "P7")

A = home("a")
CALLED = [Step.CONSULT, Step.CANCEL_TOKEN, Step.NOTIFY_HUB]


@pytest.fixture
def desk() -> Desk:
    """Return a shard of a wallet, not started yet."""
    wallets = Desk()
    wallets.profile = Profile(steps=PROFILE_STEPS[ProfileName.WALLET])
    wallets.hire()
    return wallets


async def parked(desk: Desk) -> str:
    """Open the shard, let a saga be parked at its announcement, and return the letter's key."""
    await desk.open()
    desk.hub.answers[Step.NOTIFY_HUB] = [FAILED]
    desk.request(A)
    await desk.until(desk.letters)
    (key,) = desk.letters()
    return key


def test_a_failed_announcement_parks_with_debits_blocked(desk: Desk) -> None:
    """The token is dead whatever the hub says: the letter names the step, and debits stay blocked."""

    async def story() -> None:
        key = await parked(desk)
        assert desk.told() == ["requested", "allowed", "revoked", "parked"]
        last = desk.states()[-1]
        assert (last["step"], last["debits"], last["done"]) == (
            "notify_hub",
            "blocked",
            ["consult", "cancel_token"],
        )
        assert desk.letters()[key].reason is Reason.FAILED

    desk.play(story())


def test_an_announcement_that_nobody_answers_parks_after_its_own_ladder(desk: Desk) -> None:
    """Eight calls in 25 hours, then a letter as `outcome_unknown` with debits blocked."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.NOTIFY_HUB] = [SILENCE] * 50
        desk.request(A)
        await desk.rest(26 * 3_600)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.OUTCOME_UNKNOWN
        assert desk.states()[-1]["debits"] == "blocked"
        assert desk.hub.steps() == [*CALLED, *[Step.NOTIFY_HUB] * 7]

    desk.play(story())


@pytest.mark.parametrize("restart", [False, True])
def test_a_replay_announces_again_though_the_token_is_dead(desk: Desk, *, restart: bool) -> None:
    """It goes on at this step, after a restart too: nothing is asked for or revoked a second time."""

    async def story() -> None:
        key = await parked(desk)
        if restart:
            await desk.crash()
        desk.command(key, desk.letters()[key].sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.verdicts()[0]["ruling"] == "applied"
        assert desk.hub.steps() == [*CALLED, Step.NOTIFY_HUB]
        assert desk.letters() == {}

    desk.play(story())


def test_a_replay_from_the_start_does_not_ask_about_a_dead_token(desk: Desk) -> None:
    """A notice ended the token, no call of ours did: from the start, too, only the announcement is left."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.hub.answers[Step.NOTIFY_HUB] = [FAILED]
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "revoked" in desk.told())
        slow.set()
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        start: dict[str, Any] = {"from": "start"}
        desk.command(key, letter.sequence, **start)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CONSULT, Step.NOTIFY_HUB, Step.NOTIFY_HUB]

    desk.play(story())


def test_a_discard_of_an_announcement_undoes_nothing(desk: Desk) -> None:
    """A person gives the announcement up: debits stay blocked, and the token is remembered as dead."""

    async def story() -> None:
        key = await parked(desk)
        desk.command(key, desk.letters()[key].sequence, discard=True)
        await desk.until(lambda: "discarded" in desk.told())
        assert desk.states()[-1]["debits"] == "blocked"
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == CALLED

    desk.play(story())


@pytest.mark.parametrize("again", ["request", "notice"])
def test_an_owed_announcement_outlives_what_says_that_the_token_is_dead(desk: Desk, again: str) -> None:
    """Another request of the token ends without a call, its notice changes nothing: the letter stands."""

    async def story() -> None:
        key = await parked(desk)
        letter = desk.letters()[key]
        if again == "request":
            other = desk.request(A)
            await desk.until(lambda: "unbound" in desk.told())
            assert desk.states()[-1]["requestIds"] == [other]
        else:
            desk.notice(bindingId=A, accessToken="token-1")
            await desk.until(lambda: desk.position(Input.NOTICES) == 1)
            await desk.rest()
        assert desk.letters() == {key: letter}
        assert desk.hub.steps() == CALLED

    desk.play(story())


def test_a_notice_at_the_announcement_changes_nothing(desk: Desk) -> None:
    """While the announcement waits the token's notice comes: nothing is told anew, it is still announced."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.NOTIFY_HUB] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "allowed", "revoked", "waiting", "unbound"]
        assert desk.hub.steps() == [*CALLED, Step.NOTIFY_HUB]
        assert "evidence" not in desk.states()[-1]

    desk.play(story())


def test_a_notice_before_the_revocation_leaves_the_announcement(desk: Desk) -> None:
    """A notice settles consult and revocation; the announcement is the saga's own, and its end."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == CALLED
        assert desk.told() == ["requested", "allowed", "waiting", "revoked", "unbound"]

    desk.play(story())


# --- several requests of one token ----------------------------------------------


MERCHANT: dict[str, Any] = {"initiator": "merchant", "pspId": "psp-1", "acquirerId": "acquirer-1"}
"""A request that needs no consult, and so does not join one that does."""


@pytest.mark.parametrize("other", ["queued", "parked"])
def test_a_notice_for_two_sagas_of_a_token_is_announced_once(desk: Desk, other: str) -> None:
    """Whatever ends the token, the hub is told once, though a second request of it waits or is parked."""

    async def story() -> None:
        await desk.open()
        if other == "parked":
            desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
            desk.request(A)
            await desk.until(desk.letters)
        slow = desk.hub.slow = asyncio.Event()
        before = len(desk.hub.calls)
        moving = desk.request(A)
        await desk.until(lambda: len(desk.hub.calls) > before)
        if other == "queued":
            desk.request(A, **MERCHANT)
        await desk.until(lambda: desk.told().count("requested") == 2)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "revoked" in desk.told())
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        await desk.rest(60)
        assert desk.hub.steps().count(Step.NOTIFY_HUB) == 1
        ends = [event for event in desk.states() if event["state"] == "unbound"]
        assert [event.get("evidence") for event in ends] == ["notice", "notice"]
        assert ends[-1]["requestIds"] == [moving]
        assert desk.letters() == {}

    desk.play(story())


def test_a_notice_after_the_revocation_is_no_second_announcement(desk: Desk) -> None:
    """Our own revocation owes the announcement: its notice makes no queued request of the token owe it."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.NOTIFY_HUB] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        desk.request(A, **MERCHANT)
        await desk.until(lambda: desk.told().count("requested") == 2)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: desk.told().count("unbound") == 2)
        await desk.rest(60)
        assert desk.hub.steps() == [*CALLED, Step.NOTIFY_HUB]

    desk.play(story())


def test_an_announcement_that_a_letter_owes_stays_its_own(desk: Desk) -> None:
    """One letter ended the token and owes the hub: a notice closes the other one, without a call."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        first = desk.request(A)
        await desk.until(desk.letters)
        desk.hub.answers[Step.NOTIFY_HUB] = [FAILED]
        desk.request(A)
        await desk.until(lambda: len(desk.letters()) == 2)
        calls = desk.hub.steps()
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        await desk.rest(60)
        assert desk.states()[-1]["requestIds"] == [first]
        assert desk.hub.steps() == calls
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps() == [*calls, Step.NOTIFY_HUB]

    desk.play(story())


@pytest.mark.parametrize("restart", [False, True])
def test_of_two_letters_the_one_that_goes_on_announces(desk: Desk, *, restart: bool) -> None:
    """An expired letter comes to no call any more: it goes with the token, and the other one announces it."""

    async def story() -> None:
        await desk.open()
        expired = desk.request(A, expiresAt=rfc3339(desk.now() - 1))
        await desk.until(desk.letters)
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A)
        await desk.until(lambda: len(desk.letters()) == 2)
        if restart:
            await desk.crash()
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: desk.told().count("unbound") == 2)
        await desk.rest(60)
        assert desk.hub.steps() == CALLED
        first = next(event for event in desk.states() if event["state"] == "unbound")
        assert first["requestIds"] == [expired]
        assert desk.letters() == {}

    desk.play(story())


def test_a_notice_is_announced_by_a_letter_where_nobody_else_is_left(desk: Desk) -> None:
    """A letter alone takes the notice, announces the token and goes; a later request of it calls nothing."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        desk.request(A)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps() == CALLED
        assert desk.letters() == {}

    desk.play(story())
