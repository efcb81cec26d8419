"""Who may call when: turns in a lane, stopped lines, holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.requests import REBINDING_REQUESTED
from contracts.states import Reason, Step
from tests.shard.desk import EPOCH_MS, FAILED, LINE_STOP, REFUSED, SILENCE, Desk, home

pytestmark = pytest.mark.promise("P5")

A, B, C = home("a"), home("b"), home("c")
AGREEMENT: dict[str, Any] = {
    "authMerchantId": "m",
    "merchantAgreementId": "a",
    "activatedVia": "bills_and_utilities",
}
REBIND: dict[str, Any] = {
    "customerBelongsTo": "ALIPAY_HK",
    "authRedirectUrl": "https://merchant.example/",
    "scopes": ["USER_INFO"],
    "authState": "state-1",
    "terminalType": "WEB",
}


# --- lanes --------------------------------------------------------------------


def test_one_saga_of_a_binding_at_a_time(desk: Desk) -> None:
    """A second request of a binding waits for the first one's end; another binding does not."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1")
        desk.request(A, "token-2")
        desk.request(B, "token-3")
        await desk.until(lambda: len(desk.hub.calls) == 2)
        await desk.rest()
        assert desk.hub.tokens == ["token-1", "token-3"]
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 3)
        assert desk.memory.lanes == {}

    desk.play(story())


def test_a_slow_saga_delays_no_others_timer(desk: Desk) -> None:
    """A wait ends at its time while another binding's call hangs, and nothing else wakes the shard."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT].append(SILENCE)
        desk.request(A, "token-1")
        await desk.until(lambda: "waiting" in desk.told(A))
        desk.hub.slow = asyncio.Event()
        desk.request(B, "token-2")
        await desk.until(lambda: len(desk.hub.calls) == 2)
        await desk.until(lambda: len(desk.hub.calls) == 3, limit=5)
        assert desk.hub.tokens == ["token-1", "token-2", "token-1"]
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)

    desk.play(story())


def test_a_parked_saga_leaves_its_lane(desk: Desk) -> None:
    """The next request of the binding gets its turn when the one before it is parked."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A, "token-1")
        desk.request(A, "token-2")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told().count("parked") == 1

    desk.play(story())


def test_a_replayed_saga_goes_to_the_end_of_its_lane(desk: Desk) -> None:
    """A replay waits behind the requests that came meanwhile, after a restart too."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A, "token-1")
        await desk.until(desk.letters)
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-2")
        await desk.until(lambda: len(desk.hub.calls) == 2)
        desk.request(A, "token-3")
        await desk.until(lambda: desk.told().count("requested") == 3)
        (key,) = desk.letters()
        desk.command(key, 2)
        await desk.until(desk.verdicts)
        await desk.crash()
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 3)
        ends = [event["requestIds"][0] for event in desk.states() if event["state"] == "unbound"]
        assert ends == ["event-2", "event-3", "event-1"]

    desk.play(story())


def test_a_dead_target_is_seen_at_the_turn(desk: Desk) -> None:
    """A queued request whose token the one before has ended is unbound without a call."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1")
        await desk.until(lambda: desk.hub.calls)
        desk.request(A, "token-1", agreement=AGREEMENT)
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT]

    desk.play(story())


def test_what_a_parked_saga_attempted_counts_for_the_next(desk: Desk) -> None:
    """After a revoke that is in doubt a new request repeats it as such, without asking again."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE, FAILED]
        desk.request(A, "token-1")
        await desk.until(desk.letters)
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CONSULT, *[Step.CANCEL_TOKEN] * 3]
        assert desk.hub.calls[-1].undecided
        assert desk.hub.calls[-1].psp_id == "psp-1"

    desk.play(story())


def test_an_end_closes_the_parked_sagas_that_want_nothing_else(desk: Desk) -> None:
    """A parked saga whose targets are all dead now ends with evidence, and its letter goes."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A, "token-1")
        await desk.until(desk.letters)
        desk.request(A, "token-1")
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.letters() == {}
        closed = desk.states()[-1]
        assert (closed["evidence"], closed["requestIds"]) == ("already_unbound", ["event-1"])

    desk.play(story())


def test_a_refusal_is_no_answer_to_the_next_request(desk: Desk) -> None:
    """After a refused saga a new request is asked for anew."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [REFUSED]
        desk.request(A, "token-1")
        await desk.until(lambda: "refused" in desk.told())
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_what_another_saga_ended_keeps_its_moment(desk: Desk) -> None:
    """Who learns of an agreement's end does not make it younger: one bound again is called for."""

    async def story() -> None:
        await desk.open()
        early = desk.now()
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(lambda: "unbound" in desk.told())
        await desk.rest(100)
        again = desk.now()
        await desk.rest(100)
        desk.request(A, None, agreement=AGREEMENT, requestedAt=moment(early))
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert len(desk.hub.calls) == 1
        desk.request(A, None, agreement=AGREEMENT, requestedAt=moment(again))
        await desk.until(lambda: desk.told().count("unbound") == 3)
        assert len(desk.hub.calls) == 2

    def moment(at: int) -> str:
        return f"2026-01-01T00:{(at - EPOCH_MS) // 60_000:02d}:{(at - EPOCH_MS) // 1000 % 60:02d}Z"

    desk.play(story())


def test_a_rebinding_waits_behind_the_revocation(desk: Desk) -> None:
    """Links to bind again are handed out after the old binding's end, and end as offered."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.request(A, None, kind=REBINDING_REQUESTED, **REBIND)
        await desk.rest()
        assert Step.OFFER not in desk.hub.steps()
        desk.hub.slow.set()
        await desk.until(lambda: "offered" in desk.told())
        assert desk.told()[-2:] == ["unbound", "offered"]
        assert desk.states()[-1]["normalUrl"] == "https://wallet.example/bind"

    desk.play(story())


# --- lines --------------------------------------------------------------------


def test_the_first_of_a_stopped_line_parks_and_the_others_wait(desk: Desk) -> None:
    """One letter says that a line is stopped; the others wait until the oldest has tried it."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [LINE_STOP]
        desk.request(A)
        await desk.until(desk.letters)
        desk.hub.answers[Step.CANCEL_TOKEN] = [LINE_STOP]
        desk.request(B)
        await desk.rest(0.5)
        desk.request(C)
        await desk.until(lambda: desk.told().count("waiting") == 2)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.LINE_STOPPED
        assert "line:cancel_token" in desk.journal()
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 1
        await desk.until(lambda: desk.hub.steps().count(Step.CANCEL_TOKEN) == 2)
        assert desk.hub.calls[-1].saga_id == desk.states(B)[0]["sagaId"]
        assert len(desk.letters()) == 1
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert "line:cancel_token" not in desk.journal()

    desk.play(story())


def test_calls_in_flight_on_a_stopped_line_wait_with_the_others(desk: Desk) -> None:
    """A call that was under way when its line stopped parks nobody."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.hub.answers[Step.CONSULT] = [LINE_STOP, LINE_STOP]
        desk.request(A)
        desk.request(B)
        await desk.until(lambda: len(desk.hub.calls) == 2)
        desk.hub.slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told().count("parked") == 1

    desk.play(story())


def test_a_stopped_line_is_restored(desk: Desk) -> None:
    """After a restart the line is still stopped, and its probe comes when it is due."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [LINE_STOP]
        desk.request(A)
        await desk.until(desk.letters)
        desk.request(B)
        await desk.until(lambda: "waiting" in desk.told())
        await desk.crash()
        await desk.rest(5)
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 1
        await desk.until(lambda: desk.told().count("unbound") == 1)
        assert desk.now() - EPOCH_MS >= 30_000

    desk.play(story())


def test_a_probe_that_ends_otherwise_leaves_the_line_to_the_next(desk: Desk) -> None:
    """The probing saga is ended by evidence before its answer: the next one tries the line."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [LINE_STOP]
        desk.request(C, "token-c")
        await desk.until(desk.letters)
        desk.request(A, "token-a")
        await desk.rest(0.5)
        desk.request(B, "token-b")
        await desk.until(lambda: desk.told().count("waiting") == 2)
        desk.lease.lose()
        await desk.rest(40)
        desk.notice(bindingId=A, accessToken="token-a")
        await desk.until(lambda: "unbound" in desk.told(A))
        desk.lease.gain()
        await desk.until(lambda: "unbound" in desk.told(B))

    desk.play(story())


# --- holds --------------------------------------------------------------------


def test_unknown_holds_admit_and_call_nothing(desk: Desk) -> None:
    """Until it is known what is held, requests are taken and nothing is called, a restored call neither."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.holds.read = False
        await desk.crash()
        desk.request(B)
        await desk.until(lambda: "requested" in desk.told(B))
        await desk.rest(60)
        assert len(desk.hub.calls) == 1
        assert "held" not in desk.told()
        desk.hub.slow.set()
        desk.holds.read = True
        desk.shard.holds_changed()
        await desk.until(lambda: desk.told().count("unbound") == 2)

    desk.play(story())


def test_held_is_told_when_a_call_falls_due(desk: Desk) -> None:
    """A hold on a later step is not told before that step's turn; when it is released the call is made."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.CANCEL_TOKEN] = EPOCH_MS + 10**9
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        assert desk.told() == ["requested"]
        desk.hub.slow.set()
        await desk.until(lambda: "held" in desk.told())
        await desk.rest(3600)
        assert desk.told() == ["requested", "allowed", "held"]
        desk.holds.until.clear()
        desk.shard.holds_changed()
        await desk.until(lambda: "unbound" in desk.told())

    desk.play(story())


def test_a_restored_call_obeys_a_hold(desk: Desk) -> None:
    """A revoke that was under way at a crash is held, too, if a hold was placed meanwhile."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        desk.hub.slow = asyncio.Event()
        await desk.until(lambda: Step.CANCEL_TOKEN in desk.hub.steps())
        desk.holds.until[Step.CANCEL_TOKEN] = desk.now() + 100_000
        await desk.crash()
        await desk.until(lambda: "held" in desk.told())
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 1
        desk.hub.slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls[-1].undecided

    desk.play(story())


def test_a_hold_expires_by_itself(desk: Desk) -> None:
    """Nobody releases it: at its end the calls are made."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.CANCEL_TOKEN] = EPOCH_MS + 500_000
        desk.request(A)
        await desk.until(lambda: "held" in desk.told())
        await desk.until(lambda: "unbound" in desk.told())
        assert 500_000 <= desk.now() - EPOCH_MS < 502_000
        assert desk.memory.held == {}

    desk.play(story())


def test_the_users_time_runs_on_under_a_hold(desk: Desk) -> None:
    """At consult a user waits: under a hold the request lapses after the patience of that step."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.CONSULT] = EPOCH_MS + 10**9
        desk.request(A)
        await desk.until(lambda: "lapsed" in desk.told())
        assert 120_000 <= desk.now() - EPOCH_MS < 122_000
        assert desk.hub.calls == []

    desk.play(story())
