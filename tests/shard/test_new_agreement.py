"""A letter never reaches the agreement that a rebinding has brought, or may bring."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.requests import REBINDING_REQUESTED
from contracts.states import Reason, Step
from tests.shard.desk import FAILED, SILENCE, Desk, home
from tests.shard.test_lanes import AGREEMENT, REBIND
from tests.shard.test_restore import shape
from worker.ports import Input
from worker.saga.plan import Profile

pytestmark = pytest.mark.promise("P3", "P7")

A = home("a")
NAMED: dict[str, Any] = {"authMerchantId": "m", "merchantAgreementId": "a"}


async def park(desk: Desk, step: Step = Step.CANCEL_TOKEN) -> tuple[str, int]:
    """Let a request for a token and an agreement be parked at this step; return its letter and sequence."""
    desk.hub.answers[step] = [FAILED]
    desk.request(A, "token-1", agreement=AGREEMENT)
    await desk.until(desk.letters)
    ((key, letter),) = desk.letters().items()
    return key, letter.sequence


def rebind(desk: Desk) -> None:
    """Ask for links to bind again."""
    desk.request(A, None, kind=REBINDING_REQUESTED, **REBIND)


async def offer(desk: Desk) -> None:
    """Let links to bind again be handed out."""
    rebind(desk)
    await desk.until(lambda: "offered" in desk.told())


async def ordered(desk: Desk, key: str, sequence: int, **order: Any) -> dict[str, Any]:
    """Order a replay, or a discard, and return its verdict."""
    before = len(desk.verdicts())
    desk.command(key, sequence, **order)
    await desk.until(lambda: len(desk.verdicts()) > before)
    return desk.verdicts()[-1]


@pytest.mark.parametrize("step", [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT])
def test_no_replay_comes_to_a_cancel_after_an_offer(desk: Desk, step: Step) -> None:
    """After an offer a letter with its cancel still to come is not replayed, by force or otherwise."""

    async def story() -> None:
        await desk.open()
        key, sequence = await park(desk, step)
        await offer(desk)
        await desk.crash()
        calls = len(desk.hub.calls)
        orders: list[dict[str, Any]] = [{}, {"force": True}, {"from": "start"}]
        for order in orders:
            verdict = await ordered(desk, key, sequence, **order)
            assert "a rebinding was offered since" in verdict["because"]
            assert verdict["instead"].startswith(f"unbinding letters discard {key}")
        await desk.rest(20)
        assert len(desk.hub.calls) == calls
        assert list(desk.letters()) == [key]

    desk.play(story())


def test_what_a_refused_replay_names_is_lawful(desk: Desk) -> None:
    """After the refusal the letter can be discarded, and a new request ends what is still to be ended."""

    async def story() -> None:
        await desk.open()
        key, sequence = await park(desk)
        await offer(desk)
        assert (await ordered(desk, key, sequence))["ruling"] == "refused"
        assert (await ordered(desk, key, sequence, discard=True))["ruling"] == "applied"
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert Step.CANCEL_AGREEMENT not in desk.hub.steps()
        assert desk.letters() == {}

    desk.play(story())


@pytest.mark.parametrize("before", ["under way", "queued"])
def test_no_replay_queues_behind_a_rebinding(desk: Desk, before: str) -> None:
    """A replay is refused that would go behind a rebinding under way or queued, and cancel after it."""

    async def story() -> None:
        await desk.open()
        key, sequence = await park(desk)
        calls = len(desk.hub.calls)
        desk.hub.slow = asyncio.Event()
        if before == "queued":
            desk.request(A, "token-2")
            await desk.until(lambda: len(desk.hub.calls) > calls)
        requested = desk.told().count("requested")
        rebind(desk)
        await desk.until(lambda: desk.told().count("requested") > requested)
        assert "is under way" in (await ordered(desk, key, sequence, force=True))["because"]
        desk.hub.slow.set()
        await desk.until(lambda: "offered" in desk.told())
        await desk.rest(20)
        assert Step.CANCEL_AGREEMENT not in desk.hub.steps()
        assert list(desk.letters()) == [key]

    desk.play(story())


def test_a_rebinding_without_an_offer_stands_in_no_ones_way(desk: Desk) -> None:
    """A replay that was refused for a rebinding under way is applied once that has lapsed."""

    async def story() -> None:
        await desk.open()
        key, sequence = await park(desk)
        desk.hub.answers[Step.OFFER] = [SILENCE] * 20
        rebind(desk)
        await desk.until(lambda: desk.told()[-1:] == ["waiting"])
        refused = await ordered(desk, key, sequence)
        assert "ends without an offer" in refused["instead"]
        await desk.until(lambda: "lapsed" in desk.told())
        assert (await ordered(desk, key, sequence))["ruling"] == "applied"
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps()[-2:] == [Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT]

    desk.play(story())


@pytest.mark.parametrize("offered", [True, False])
def test_a_notice_wakes_no_letter_that_would_come_to_a_cancel(desk: Desk, *, offered: bool) -> None:
    """With a rebinding offered or under way evidence for the token is kept, and its letter does not move."""

    async def story() -> None:
        await desk.open()
        key, sequence = await park(desk)
        if offered:
            await offer(desk)
        else:
            calls = len(desk.hub.calls)
            desk.hub.slow = asyncio.Event()
            rebind(desk)
            await desk.until(lambda: len(desk.hub.calls) > calls)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        if desk.hub.slow is not None:
            desk.hub.slow.set()
        await desk.until(lambda: "offered" in desk.told())
        await desk.rest(20)
        assert shape(desk.memory) == shape(desk.restored())
        await desk.crash()
        assert Step.CANCEL_AGREEMENT not in desk.hub.steps()
        assert [letter.sequence for letter in desk.letters().values()] == [sequence]
        assert (await ordered(desk, key, sequence, discard=True))["ruling"] == "applied"
        assert (desk.states()[-1]["state"], desk.states()[-1]["debits"]) == ("discarded", "blocked")

    desk.play(story())


def test_evidence_for_all_targets_closes_a_letter_after_an_offer(desk: Desk) -> None:
    """When notices have ended the token and the agreement of before, the letter goes without a call."""

    async def story() -> None:
        await desk.open()
        await park(desk)
        await desk.rest(1)
        died_at = desk.now()
        await offer(desk)
        calls = len(desk.hub.calls)
        desk.notice(bindingId=A, accessToken="token-1")
        desk.notice(bindingId=A, at=died_at, **NAMED)
        await desk.until(lambda: "unbound" in desk.told())
        assert len(desk.hub.calls) == calls
        assert desk.letters() == {}

    desk.play(story())


def test_an_invalid_letter_is_not_given_a_cancel_after_an_offer(desk: Desk) -> None:
    """An invalid request to which its replay would give a cancel is not replayed after an offer."""

    async def story() -> None:
        steps = desk.profile.steps
        desk.profile = Profile(steps=tuple(step for step in steps if step is not Step.CANCEL_AGREEMENT))
        desk.hire()
        await desk.open()
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        assert letter.reason is Reason.INVALID
        await offer(desk)
        await desk.shard.close()
        desk.profile = Profile(steps=steps)
        desk.hire()
        await desk.open()
        verdict = await ordered(desk, key, letter.sequence)
        assert "a rebinding was offered since" in verdict["because"]
        assert shape(desk.memory) == shape(desk.restored())
        assert Step.CANCEL_AGREEMENT not in desk.hub.steps()
        assert list(desk.letters()) == [key]

    desk.play(story())


@pytest.mark.parametrize("agreement", [None, "dead"])
def test_a_token_is_revoked_by_a_replay_after_an_offer(desk: Desk, agreement: str | None) -> None:
    """A replay without an agreement, or with one that another saga has ended, names the old token only."""

    async def story() -> None:
        await desk.open()
        if agreement is None:
            desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
            desk.request(A, "token-1")
            await desk.until(desk.letters)
            ((key, letter),) = desk.letters().items()
            sequence = letter.sequence
        else:
            key, sequence = await park(desk)
            await desk.rest(1)
            desk.request(A, None, agreement=AGREEMENT)
            await desk.until(lambda: "unbound" in desk.told())
        await offer(desk)
        calls = len(desk.hub.calls)
        assert (await ordered(desk, key, sequence))["ruling"] == "applied"
        await desk.until(lambda: desk.told()[-1] == "unbound")
        assert [call.step for call in desk.hub.calls[calls:]] == [Step.CANCEL_TOKEN]

    desk.play(story())
