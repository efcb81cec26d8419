"""Wallet and merchant ask for the end of one token at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.states import Step
from tests.shard.desk import REFUSED, Desk, home
from worker.saga.plan import PROFILE_STEPS, Profile, ProfileName

pytestmark = pytest.mark.promise("P3", "P5")

A = home("a")
MERCHANT: dict[str, Any] = {"initiator": "merchant", "pspId": "psp-1", "acquirerId": "acquirer-1"}
"""A request that needs no consult: the merchant asks, and both ids are named."""


@pytest.mark.parametrize("noticed", [False, True], ids=["called", "noticed"])
def test_the_merchant_asks_while_the_wallet_consults(desk: Desk, *, noticed: bool) -> None:
    """Both requests end as unbound, by one revocation; or by none, where a notice comes before it."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        wallets = desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        merchants = desk.request(A, **MERCHANT)
        await desk.until(lambda: desk.told().count("requested") == 2)
        if noticed:
            desk.notice(bindingId=A, accessToken="token-1")
            await desk.until(lambda: "unbound" in desk.told())
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        await desk.rest(60)
        assert desk.hub.steps() == [Step.CONSULT] + [Step.CANCEL_TOKEN] * (not noticed)
        ends = {e["requestIds"][0]: e.get("evidence") for e in desk.states() if e["state"] == "unbound"}
        assert ends == {wallets: "notice" if noticed else None, merchants: "already_unbound"}

    desk.play(story())


def test_the_merchant_needs_no_permission_that_the_wallet_was_refused(desk: Desk) -> None:
    """The wallet's request ends as refused, the merchant's goes on without a consult."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.hub.answers[Step.CONSULT] = [REFUSED]
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.request(A, **MERCHANT)
        await desk.until(lambda: desk.told().count("requested") == 2)
        slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "requested", "refused", "revoked", "unbound"]
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


def test_of_two_requests_one_announces_the_dead_token() -> None:
    """In the wallet's profile the hub is told once: the second request finds the token dead and announced."""
    desk = Desk()
    desk.profile = Profile(steps=PROFILE_STEPS[ProfileName.WALLET])
    desk.hire()

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.request(A, **MERCHANT)
        await desk.until(lambda: desk.told().count("requested") == 2)
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.NOTIFY_HUB]

    desk.play(story())
