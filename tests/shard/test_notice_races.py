"""Races of notices with calls, answers, repetitions, and what was bound anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from contracts.dead_letters import BROADCAST_FROM_HEADER
from contracts.requests import REBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from tests.shard.desk import DONE, EPOCH_MS, FAILED, SILENCE, Desk, home
from tests.shard.test_evidence_and_orders import NAMED, NOTICES
from tests.shard.test_lanes import AGREEMENT, REBIND
from tests.shard.test_notice_letters import evidence
from worker.ports import Input

if TYPE_CHECKING:
    from worker.saga.results import Result

pytestmark = pytest.mark.promise("P6", "P7")

A, B = home("a"), home("b")


async def taken(desk: Desk, notices: int) -> None:
    """Wait until so many notices are taken in, and for what they would lead to."""
    await desk.until(lambda: desk.position(Input.NOTICES) == notices)
    await desk.rest()


# --- before the call, and after its answer -------------------------------------


@pytest.mark.parametrize("stands", ["in its line", "without a lease"])
def test_a_call_that_was_decided_never_begins_after_a_notice(desk: Desk, stands: str) -> None:
    """A call that still waits for its line or for the lease when the notice comes is not made."""

    async def story() -> None:
        await desk.open()
        queue = desk.hub.queue = asyncio.Event()
        if stands == "without a lease":
            desk.lease.lose()
        desk.request(A, agreement=AGREEMENT)
        await desk.until(lambda: "requested" in desk.told())
        await desk.rest()
        assert bool(desk.hub.asked) is (stands == "in its line")
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "revoked" in desk.told())
        queue.set()
        desk.lease.gain()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CANCEL_AGREEMENT]
        assert evidence(desk) == [None, "notice", None, "notice"]

    desk.play(story())


def test_a_notice_beside_the_permission_leaves_no_revocation(desk: Desk) -> None:
    """Consult's yes and the notice come into one transaction: the call that the yes led to is not made."""

    async def story() -> None:
        await desk.open()
        desk.holds.until[Step.CANCEL_AGREEMENT] = EPOCH_MS + 10**9
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1", agreement=AGREEMENT)
        await desk.until(lambda: desk.hub.calls)
        gate = desk.log.gate = asyncio.Event()
        desk.request(B, "token-2")
        await desk.rest()
        slow.set()
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.rest()
        gate.set()
        await desk.until(lambda: "unbound" in desk.told(B))
        assert desk.told(A) == ["requested", "allowed", "revoked", "held"]
        assert desk.hub.tokens.count("token-1") == 1
        assert desk.log.restores == 1

    desk.play(story())


@pytest.mark.parametrize("late", [DONE, FAILED, SILENCE], ids=["done", "failed", "silence"])
def test_an_answer_that_a_notice_has_overtaken_counts_no_more(desk: Desk, late: Result) -> None:
    """The saga is at its next step when the overtaken call answers: that answer tells and parks nothing."""

    async def story() -> None:
        await desk.open()
        desk.request(A, agreement=AGREEMENT)
        await desk.until(lambda: desk.hub.calls)
        slow = desk.hub.slow = asyncio.Event()
        desk.hub.answers[Step.CANCEL_TOKEN] = [late]
        await desk.until(lambda: Step.CANCEL_TOKEN in desk.hub.steps())
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: Step.CANCEL_AGREEMENT in desk.hub.steps())
        slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        await desk.rest(60)
        assert desk.told() == ["requested", "allowed", "revoked", "revoked", "unbound"]
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT]
        assert desk.letters() == {}

    desk.play(story())


def test_a_notice_after_the_answer_tells_nothing_anew(desk: Desk) -> None:
    """The token was revoked by our own call: its notice changes neither the present step nor the end."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_AGREEMENT] = [SILENCE]
        desk.request(A, agreement=AGREEMENT)
        await desk.until(lambda: "waiting" in desk.told())
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "allowed", "revoked", "waiting", "revoked", "unbound"]
        assert evidence(desk) == [None] * 6
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 1

    desk.play(story())


def test_an_agreements_notice_before_the_token_is_consulted_about(desk: Desk) -> None:
    """The agreement is told as revoked at once; the token is asked about and revoked as if nothing were."""

    async def story() -> None:
        await desk.open()
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A, agreement=AGREEMENT)
        await desk.until(lambda: desk.hub.calls)
        desk.notice(bindingId=A, **NAMED)
        await desk.until(lambda: "revoked" in desk.told())
        slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "revoked", "allowed", "revoked", "unbound"]
        assert evidence(desk) == [None, "notice", None, None, "notice"]
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


def test_a_notice_that_names_token_and_agreement_ends_both(desk: Desk) -> None:
    """The token's end leads to the agreement's call in the same transaction: that call is not made."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, agreement=AGREEMENT)
        await desk.until(lambda: desk.hub.calls)
        desk.notice(bindingId=A, accessToken="token-1", **NAMED)
        await desk.until(lambda: "unbound" in desk.told())
        await desk.rest(60)
        assert desk.told() == ["requested", "revoked", "revoked", "unbound"]
        assert desk.hub.steps() == [Step.CONSULT]

    desk.play(story())


# --- twice, late, and of others --------------------------------------------------


def test_a_notice_that_comes_twice_counts_once(desk: Desk) -> None:
    """Sent again, after a restart too, it is neither told nor remembered a second time."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1", agreement=AGREEMENT)
        await desk.until(lambda: desk.hub.calls)
        moment = desk.now()
        for turn in range(3):
            for token in ("token-1", "token-2"):
                desk.notice(bindingId=A, accessToken=token, at=moment, noticeId=f"notice-of-{token}")
            await taken(desk, 2 * turn + 2)
            if turn == 1:
                await desk.crash()
        kept = [
            record
            for record in desk.cluster.committed(topic_name(LogicalTopic.JOURNAL), 0)
            if (record.key or b"").startswith(b"dead:")
        ]
        assert desk.told() == ["requested", "revoked"]
        assert len(kept) == 1

    desk.play(story())


@pytest.mark.fault("the transaction of a notice fails")
def test_a_notice_whose_transaction_fails_is_taken_again(desk: Desk) -> None:
    """What it did is dropped with the transaction and done anew, and told once."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        desk.log.interrupts = 1
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.log.restores == 2
        assert desk.told() == ["requested", "allowed", "waiting", "revoked", "unbound"]
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


def test_a_late_notice_does_not_close_the_new_binding(desk: Desk) -> None:
    """It names the old token: a request for the token that was bound since goes its own way."""

    async def story() -> None:
        await desk.open()
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())
        desk.request(A, None, kind=REBINDING_REQUESTED, **REBIND)
        await desk.until(lambda: "offered" in desk.told())
        slow = desk.hub.slow = asyncio.Event()
        newer = desk.request(A, "token-2")
        await desk.until(lambda: desk.hub.tokens[-1] == "token-2")
        desk.notice(bindingId=A, accessToken="token-1")
        await taken(desk, 1)
        told = len(desk.states())
        assert desk.told()[-1] == "requested"
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert [event["requestIds"] for event in desk.states()[told:]] == [[newer]] * 3
        assert evidence(desk) == [None] * len(desk.states())
        assert desk.hub.tokens[-2:] == ["token-2"] * 2

    desk.play(story())


def test_a_late_notice_does_not_close_an_agreement_made_anew(desk: Desk) -> None:
    """It says when the agreement died: a request made since, under the same ids, is still called for."""

    async def story() -> None:
        await desk.open()
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(lambda: "unbound" in desk.told())
        died_at = desk.now()
        await desk.rest(10)
        slow = desk.hub.slow = asyncio.Event()
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(lambda: len(desk.hub.calls) == 2)
        desk.notice(bindingId=A, at=died_at, **NAMED)
        await taken(desk, 1)
        assert desk.told().count("unbound") == 1
        slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert evidence(desk) == [None] * len(desk.states())

    desk.play(story())


@pytest.mark.parametrize(
    "named",
    [
        {"accessToken": "token-2"},
        {"authMerchantId": "m", "merchantAgreementId": "other"},
        {"authMerchantId": "other", "merchantAgreementId": "a"},
    ],
    ids=["another token", "another agreement", "another merchant"],
)
def test_user_and_merchant_alone_never_match(desk: Desk, named: dict[str, Any]) -> None:
    """A notice of the same binding and merchant with another token or agreement ends nothing here."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A, "token-1", agreement=AGREEMENT)
        await desk.until(lambda: "waiting" in desk.told())
        desk.notice(bindingId=A, **named)
        await desk.until(lambda: "unbound" in desk.told())
        assert evidence(desk) == [None] * len(desk.states())
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 2
        assert desk.hub.steps().count(Step.CANCEL_AGREEMENT) == 1

    desk.play(story())


def test_a_broadcast_notice_ends_the_saga_at_its_receiver(desk: Desk) -> None:
    """Another partition sent the fingerprint only: the saga of that token ends here, and nothing goes on."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE]
        desk.request(A, "token-1")
        await desk.until(lambda: "waiting" in desk.told())
        calls = len(desk.hub.calls)
        desk.notice(
            tokenFingerprint=desk.vault.fingerprint("token-1"),
            headers=((BROADCAST_FROM_HEADER, f"{NOTICES}/1/0".encode()),),
        )
        await desk.until(lambda: "unbound" in desk.told())
        assert evidence(desk)[-2:] == ["notice", "notice"]
        assert len(desk.hub.calls) == calls
        assert desk.cluster.committed(NOTICES, 1) == []

    desk.play(story())
