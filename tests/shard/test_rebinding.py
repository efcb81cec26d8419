"""A user wants to bind again: links are asked for behind the binding's revocations, in the user's time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contracts.requests import REBINDING_REQUESTED
from contracts.states import Outcome, Step
from contracts.wire import rfc3339
from tests.shard.desk import EPOCH_MS, FAILED, OFFERED, Desk, home
from tests.shard.test_lanes import REBIND
from worker.saga.results import Links, Result, ResultClass

pytestmark = pytest.mark.promise("P4", "P5")

A = home("a")
LINK_NAMES = ("authUrl", "normalUrl", "schemeUrl", "applinkUrl")
UNDECIDED = Result(
    result_class=ResultClass.SOON, outcome=Outcome.UNKNOWN, code="UNKNOWN_EXCEPTION", verified=True
)


def bind_again(desk: Desk, **data: Any) -> str:
    """Send a rebinding and return its id."""
    return desk.request(A, None, kind=REBINDING_REQUESTED, **(REBIND | data))


def offers(desk: Desk) -> int:
    """Return how often links were asked for."""
    return desk.hub.steps().count(Step.OFFER)


@pytest.mark.parametrize(
    ("links", "named"),
    [
        (Links(auth_url="https://wallet.example/old"), {"authUrl": "https://wallet.example/old"}),
        (
            Links(
                normal_url="https://wallet.example/bind",
                scheme_url="wallet://bind",
                applink_url="https://wallet.example/app",
            ),
            {
                "normalUrl": "https://wallet.example/bind",
                "schemeUrl": "wallet://bind",
                "applinkUrl": "https://wallet.example/app",
            },
        ),
    ],
    ids=["older edition", "present edition"],
)
def test_the_event_has_the_links_of_the_answer(desk: Desk, links: Links, named: dict[str, str]) -> None:
    """Each link of the answer is on the event under its own name, and no other; debits are not spoken of."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.OFFER] = [replace(OFFERED, links=links)]
        asked = bind_again(desk)
        await desk.until(lambda: "offered" in desk.told())
        offered = desk.states()[-1]
        assert {name: offered[name] for name in LINK_NAMES if name in offered} == named
        assert (offered["requestIds"], offered["done"]) == ([asked], ["offer"])
        assert all("debits" not in event for event in desk.states())

    desk.play(story())


def test_a_rebinding_whose_time_passed_in_the_lane_lapses(desk: Desk) -> None:
    """Behind a slow revocation `expiresAt` passes: the rebinding lapses without call or letter."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        bind_again(desk, expiresAt=rfc3339(desk.now() + 10_000))
        await desk.rest(20)
        assert "lapsed" not in desk.told()
        slow.set()
        await desk.until(lambda: "lapsed" in desk.told())
        assert desk.told()[-2:] == ["unbound", "lapsed"]
        assert offers(desk) == 0
        assert desk.letters() == {}

    desk.play(story())


def test_a_rebinding_whose_time_passes_in_line_lapses(desk: Desk) -> None:
    """`expiresAt` passes while the decided call stands in line: it is not made."""

    async def story() -> None:
        await desk.open()
        queue = desk.hub.queue = asyncio.Event()
        bind_again(desk, expiresAt=rfc3339(desk.now() + 10_000))
        await desk.until(lambda: desk.hub.asked)
        await desk.rest(20)
        queue.set()
        await desk.until(lambda: "lapsed" in desk.told())
        assert desk.hub.calls == []

    desk.play(story())


@pytest.mark.parametrize(("time_s", "calls"), [(None, 5), (10, 2)], ids=["patience", "expiresAt"])
def test_an_offer_that_stays_undecided_lapses(desk: Desk, time_s: int | None, calls: int) -> None:
    """`U` walks down the offer's own ladder and lapses with the user's time; no letter is written."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.OFFER] = [UNDECIDED] * 20
        asked: dict[str, Any] = {} if time_s is None else {"expiresAt": rfc3339(desk.now() + time_s * 1_000)}
        bind_again(desk, **asked)
        await desk.until(lambda: "lapsed" in desk.told())
        assert desk.told() == ["requested", *["waiting"] * (calls - 1), "lapsed"]
        assert offers(desk) == calls
        assert desk.now() - EPOCH_MS < 60_000
        assert desk.letters() == {}

    desk.play(story())


def test_the_users_time_runs_on_while_an_offer_is_held(desk: Desk) -> None:
    """Under a hold a rebinding lapses after a minute, without a call."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.OFFER] = EPOCH_MS + 10**9
        bind_again(desk)
        await desk.until(lambda: "lapsed" in desk.told())
        assert 60_000 <= desk.now() - EPOCH_MS < 62_000
        assert desk.hub.calls == []

    desk.play(story())


def test_a_second_rebinding_waits_for_the_first(desk: Desk) -> None:
    """Each has an `authState` of its own: they do not join, and each one is offered links after the other."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        first = bind_again(desk)
        await desk.until(lambda: offers(desk) == 1)
        second = bind_again(desk, authState="state-2")
        await desk.until(lambda: desk.told().count("requested") == 2)
        await desk.rest(5)
        assert offers(desk) == 1
        slow.set()
        await desk.until(lambda: desk.told().count("offered") == 2)
        ends = [event["requestIds"] for event in desk.states() if event["state"] == "offered"]
        assert ends == [[first], [second]]
        assert offers(desk) == 2

    desk.play(story())


def test_a_rebinding_does_not_join_the_revocation_that_it_waits_for(desk: Desk) -> None:
    """Three requests of one binding: revoked, offered, and what was bound since is revoked by a call anew."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1")
        await desk.until(lambda: desk.hub.calls)
        bind_again(desk)
        desk.request(A, "token-2")
        await desk.until(lambda: desk.told().count("requested") == 3)
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        revocation = [Step.CONSULT, Step.CANCEL_TOKEN]
        assert desk.hub.steps() == [*revocation, Step.OFFER, *revocation]
        assert desk.hub.tokens == ["token-1", "token-1", None, "token-2", "token-2"]

    desk.play(story())


def test_a_rebinding_is_offered_while_an_old_letter_stands(desk: Desk) -> None:
    """A parked saga does not keep the user from binding again; a late replay names its own token only."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A, "token-1")
        await desk.until(desk.letters)
        bind_again(desk)
        await desk.until(lambda: "offered" in desk.told())
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.verdicts()[0]["ruling"] == "applied"
        assert desk.hub.tokens == ["token-1", "token-1", None, "token-1"]

    desk.play(story())
