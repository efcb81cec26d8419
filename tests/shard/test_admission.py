"""How records are taken in: forwarded, recognised, joined, queued, or parked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from contracts.cloudevents import event_headers
from contracts.dead_letters import FORWARDED_FROM_HEADER
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import Reason, Step
from contracts.topics import LogicalTopic, topic_name
from tests.shard.desk import FAILED, SEALING, SILENCE, Desk, home, vault_of
from tests.simulation.log import as_record
from worker.ports import Input
from worker.sealing.key_ring import KeyRing
from worker.sealing.seal import Sealer
from worker.shard.vault import TOKEN_AAD

if TYPE_CHECKING:
    from worker.ports import Headers

pytestmark = pytest.mark.promise("P1", "P10")

A = home("a")
AWAY = home("a", 1)
REQUESTS = topic_name(LogicalTopic.REQUESTS)


def forwarded(desk: Desk) -> list[Headers]:
    """Return the headers of the records that the worker sent to partition 1."""
    return [
        record.headers for record in desk.cluster.committed(REQUESTS, 1) if record.transaction is not None
    ]


def test_a_stray_request_is_forwarded_once_with_its_first_origin(desk: Desk) -> None:
    """A request in the wrong partition is sent on with its first origin, and no event is told."""

    async def story() -> None:
        await desk.open()
        desk.request(AWAY)
        await desk.until(lambda: forwarded(desk))
        assert dict(forwarded(desk)[0])[FORWARDED_FROM_HEADER] == f"{REQUESTS}/0/0".encode()
        assert desk.told() == []
        assert desk.position(Input.REQUESTS) == 1

    desk.play(story())


def test_a_forged_forwarding_header_in_the_wrong_partition_is_replaced(desk: Desk) -> None:
    """In the wrong partition the header cannot be ours: it is dropped, and the record is forwarded."""

    async def story() -> None:
        await desk.open()
        desk.request(AWAY, headers=((FORWARDED_FROM_HEADER, f"{REQUESTS}/1/77".encode()),))
        await desk.until(lambda: forwarded(desk))
        origins = [value for name, value in forwarded(desk)[0] if name == FORWARDED_FROM_HEADER]
        assert origins == [f"{REQUESTS}/0/0".encode()]

    desk.play(story())


def test_a_forwarded_request_keeps_its_first_origin(desk: Desk) -> None:
    """A request that came from another partition is known by where it was first."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A, headers=((FORWARDED_FROM_HEADER, f"{REQUESTS}/1/5".encode()),))
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.origin.text == f"{REQUESTS}/1/5"

    desk.play(story())


@pytest.mark.parametrize("origin", ["other/1/5", f"{REQUESTS}/0/5", f"{REQUESTS}/9/5", "nonsense", ""])
def test_a_forged_origin_is_ignored(desk: Desk, origin: str) -> None:
    """An origin that no worker of ours can have written does not count."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A, headers=((FORWARDED_FROM_HEADER, origin.encode()),))
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.origin.text == f"{REQUESTS}/0/0"

    desk.play(story())


def test_two_requests_with_one_forged_origin_stay_apart(desk: Desk) -> None:
    """Two requests with one id and one forged origin, but other targets, share no event id."""

    async def story() -> None:
        await desk.open()
        forged = ((FORWARDED_FROM_HEADER, f"{REQUESTS}/1/5".encode()),)
        for token in ("token-1", "token-2"):
            desk.request(A, token, event_id="same", headers=forged)
        await desk.until(lambda: desk.told().count("unbound") == 2)
        names = [(event["sagaId"], event["sequence"]) for event in desk.states()]
        assert len(names) == len(set(names))

    desk.play(story())


def test_a_repetition_of_a_living_request_is_recognised(desk: Desk) -> None:
    """The same request again while its saga lives makes no join, no event and no call."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, event_id="one")
        await desk.until(lambda: desk.hub.calls)
        desk.request(A, event_id="one")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        desk.hub.slow.set()
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told() == ["requested", "allowed", "revoked", "unbound"]

    desk.play(story())


def test_a_repetition_of_a_parked_request_is_recognised(desk: Desk) -> None:
    """The same request again while its letter stands changes nothing."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A, event_id="one")
        await desk.until(desk.letters)
        desk.request(A, event_id="one")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        assert desk.told() == ["requested", "parked"]
        assert len(desk.hub.calls) == 1

    desk.play(story())


def test_a_repetition_of_an_invalid_request_is_recognised(desk: Desk) -> None:
    """The same invalid request again makes no second letter."""

    async def story() -> None:
        await desk.open()
        for _ in range(2):
            desk.request(A, None, event_id="one", requestedAt="2026-01-01T00:00:00Z")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        assert len(desk.letters()) == 1

    desk.play(story())


def test_the_same_id_with_other_targets_is_another_request(desk: Desk) -> None:
    """One id with two tokens is two requests: each gets its saga."""

    async def story() -> None:
        await desk.open()
        desk.request(A, "token-1", event_id="one")
        desk.request(A, "token-2", event_id="one")
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert len({event["sagaId"] for event in desk.states()}) == 2

    desk.play(story())


def test_eight_requests_join_and_the_ninth_queues(desk: Desk) -> None:
    """Requests for the same token share one saga's end, eight at most; the next one has a saga of its own."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A)
        await desk.until(lambda: desk.hub.calls)
        for _ in range(9):
            desk.request(A)
        await desk.until(lambda: desk.position(Input.REQUESTS) == 10)
        assert desk.told().count("joined") == 8
        assert desk.told().count("requested") == 2
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        first, second = (event for event in desk.states() if event["state"] == "unbound")
        assert len(first["requestIds"]) == 9
        assert second["evidence"] == "already_unbound"
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN]

    desk.play(story())


def test_a_request_that_needs_no_consult_does_not_join_one_that_does(desk: Desk) -> None:
    """A merchant's request with all ids is not kept waiting by a permission that it does not need."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        desk.request(A)
        await desk.until(lambda: "waiting" in desk.told())
        desk.request(A, initiator="merchant", pspId="psp", acquirerId="acquirer")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        assert "joined" not in desk.told()

    desk.play(story())


def test_a_request_for_an_agreement_bound_again_does_not_join_its_old_end(desk: Desk) -> None:
    """A request made after the saga ended the agreement may mean a new one of the same name: it calls."""
    agreement = {"authMerchantId": "m", "merchantAgreementId": "a", "activatedVia": "bills_and_utilities"}
    account = dict.fromkeys(
        ("merchantAccountId", "subMerchantId", "accountId", "openId", "authSiteUserId"), "x"
    )

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.NOTIFY_MERCHANT] = [SILENCE]
        desk.request(A, None, agreement=agreement, merchantAccount={"merchantTag": "tag", **account})
        await desk.until(lambda: "waiting" in desk.told())
        await desk.rest(5)
        desk.request(A, None, agreement=agreement)
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        assert "joined" not in desk.told()
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert desk.hub.steps().count(Step.CANCEL_AGREEMENT) == 2

    desk.play(story())


def test_the_ninth_queued_request_is_parked(desk: Desk) -> None:
    """Eight requests of a binding wait for their turn; the next one is parked as queue_full."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        for number in range(10):
            desk.request(A, f"token-{number}")
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.QUEUE_FULL
        assert letter.request_id == "event-10"

    desk.play(story())


def test_a_flood_of_letters_of_one_binding_ends_with_its_token(desk: Desk) -> None:
    """A thousand parked requests of one binding are closed by the end of their token."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-0")
        await desk.until(lambda: desk.hub.calls)
        for number in range(1, 9):
            desk.request(A, f"token-{number}")
        for number in range(1000):
            desk.request(A, "token-0", event_id=f"flood-{number}")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 1009)
        assert len(desk.letters()) == 992
        desk.hub.slow.set()
        await desk.until(lambda: desk.told().count("unbound") == 9 + 992)
        assert desk.letters() == {}
        assert desk.log.restores == 1

    desk.play(story())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "null"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 5000, "not JSON"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_an_unreadable_record_is_parked_whole(desk: Desk, value: bytes | None, message: str) -> None:
    """A record that is no event gets a letter with its sealed value; its neighbour goes on."""

    async def story() -> None:
        await desk.open()
        headers = event_headers(event_id="x", source="s", event_type=UNBINDING_REQUESTED, at=desk.now())
        desk.send(LogicalTopic.REQUESTS, value, headers)
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        letter = desk.letters()[f"{REQUESTS}/0/0"]
        assert letter.reason is Reason.UNREADABLE
        assert message in letter.message
        assert letter.sealed_with == "sealing-1"
        assert letter.saga_id is None
        assert dict(letter.original)["ce_id"] == b"x"

    desk.play(story())


def test_a_request_that_is_too_large_is_named_and_not_copied() -> None:
    """A value over the limit is not copied: the letter has its origin and its SHA-256."""
    desk = Desk(record_bytes=1_000)

    async def story() -> None:
        await desk.open()
        desk.request(A, passThroughInfo="x" * 2_000)
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        (record,) = desk.cluster.committed(REQUESTS, 0)
        assert letter.reason is Reason.TOO_LARGE
        assert letter.sealed_with is None
        assert letter.origin_sha256 == hashlib.sha256(record.value or b"").hexdigest()

    desk.play(story())


def test_an_invalid_request_tells_that_it_was_parked(desk: Desk) -> None:
    """A request whose ids could be read gets a parked event and a letter that names fields, never values."""

    async def story() -> None:
        await desk.open()
        desk.request(A, "secret-token", authClientId=None)
        await desk.until(desk.letters)
        (event,) = desk.states()
        (letter,) = desk.letters().values()
        assert (event["state"], event["reason"], event["sequence"]) == ("parked", "invalid", 1)
        assert letter.reason is Reason.INVALID
        assert letter.binding_id == A
        assert "authClientId" in letter.message
        assert b"secret-token" not in desk.written()

    desk.play(story())


def sealed_token(token: bytes) -> str:
    """Seal a token as upstream does."""
    sealed = Sealer(SEALING).seal(token, aad=TOKEN_AAD)
    return f"sealed:{sealed.key_id}:{base64.b64encode(sealed.value).decode()}"


@pytest.mark.promise("P8")
def test_a_token_in_clear_is_written_nowhere(desk: Desk) -> None:
    """What upstream sent in clear stands in no topic of ours: not while it waits, not in its letter."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A, "secret-of-the-wallet")
        desk.send(LogicalTopic.REQUESTS, b'{"accessToken":"secret-of-the-wallet"', ())
        await desk.until(lambda: len(desk.letters()) == 2)
        assert desk.hub.tokens[-1] == "secret-of-the-wallet"
        assert b"secret-of-the-wallet" not in desk.written()

    desk.play(story())


def test_a_sealed_token_is_opened_for_the_call_only(desk: Desk) -> None:
    """A token that upstream sealed reaches the counterpart in clear, and no topic."""

    async def story() -> None:
        await desk.open()
        desk.request(A, sealed_token(b"secret-token"))
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.tokens == ["secret-token", "secret-token"]
        assert b"secret-token" not in desk.written()

    desk.play(story())


@pytest.mark.parametrize(
    "token",
    [
        "sealed:plain-secret",
        "sealed:plain-secret:",
        "sealed:plain-secret:AAAA",
        "sealed:k:\u00e9\u00e9\u00e9\u00e9",
        "sealed:sealing-1:" + base64.b64encode(b"x" * 60).decode(),
        sealed_token(b""),
        sealed_token(b"x" * 129),
        sealed_token(b"line\nbreak"),
        sealed_token(b"\xff"),
        sealed_token(b"sealed:again"),
    ],
)
def test_a_sealed_token_that_does_not_open_is_invalid(desk: Desk, token: str) -> None:
    """What only looks like a sealed token makes its request invalid; nothing of it is quoted."""

    async def story() -> None:
        await desk.open()
        desk.request(A, token)
        desk.request(home("b"))
        await desk.until(lambda: "unbound" in desk.told())
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.INVALID
        assert letter.message.startswith(("accessToken", "a value sealed"))
        assert b"plain-secret" not in desk.written()
        assert desk.log.restores == 1

    desk.play(story())


def test_headers_that_crowd_out_others_do_not_lose_the_event(desk: Desk) -> None:
    """A request whose own headers are huge, many and out of order is opened again after a wait."""
    crowd = (
        *((f"ce_junk{n}", b"x" * 1_000) for n in range(9)),
        ("ce_id", b"not the last one"),
        ("traceparent", b"junk"),
    )

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        desk.request(A, headers=crowd)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.letters() == {}
        assert b"junk\n" not in desk.written()
        assert desk.log.restores == 1

    desk.play(story())


def test_a_target_is_found_under_an_older_fingerprint_key(desk: Desk) -> None:
    """After a change of the fingerprint key a repetition and a join find what is under the old."""
    old, new = bytes(range(32, 64)), bytes(range(64, 96))

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [SILENCE]
        desk.request(A, event_id="one")
        await desk.until(lambda: "waiting" in desk.told())
        await desk.shard.close()
        desk.vault = vault_of(prints=KeyRing({"prints-1": old, "prints-2": new}, active="prints-2"))
        desk.hire()
        await desk.open()
        desk.request(A, event_id="one")
        desk.request(A, event_id="two")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.told().count("requested") == 1
        assert desk.told().count("joined") == 1

    desk.play(story())


def test_a_journal_moment_of_zero_is_a_moment(desk: Desk) -> None:
    """A request that expired in 1970 has expired after a restart, too."""

    async def story() -> None:
        await desk.open()
        desk.hub.slow = asyncio.Event()
        desk.request(A, "token-1")
        desk.request(A, "token-2", expiresAt="1970-01-01T00:00:00Z")
        await desk.until(lambda: desk.told().count("requested") == 2)
        await desk.crash()
        desk.hub.slow.set()
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.EXPIRED

    desk.play(story())


def test_a_record_that_is_fed_twice_is_taken_once(desk: Desk) -> None:
    """What the feed gives again after it was taken does not move the position back."""

    async def story() -> None:
        await desk.open()
        desk.request(A)
        desk.request(home("b"))
        await desk.until(lambda: desk.told().count("unbound") == 2)
        records = [as_record(stored, Input.REQUESTS) for stored in desk.cluster.committed(REQUESTS, 0)]
        desk.shard.offer(records[:1])
        await desk.rest()
        assert desk.position(Input.REQUESTS) == 2
        assert len(desk.told()) == 8

    desk.play(story())
