"""What comes beside requests: notices that something is dead, and commands of people."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from contracts.cloudevents import event_headers
from contracts.commands import REPLAY_REQUESTED
from contracts.dead_letters import BROADCAST_FROM_HEADER, FORWARDED_FROM_HEADER
from contracts.notices import TOKEN_CANCELED
from contracts.requests import REBINDING_REQUESTED
from contracts.states import Reason, Step
from contracts.topics import LogicalTopic, topic_name
from contracts.wire import rfc3339
from tests.shard.desk import EPOCH_MS, FAILED, REFUSED, SILENCE, Desk, home
from tests.shard.test_lanes import AGREEMENT, REBIND
from worker.ports import Input
from worker.saga.plan import Profile

pytestmark = pytest.mark.promise("P6", "P7")

A, B = home("a"), home("b")
NOTICES = topic_name(LogicalTopic.NOTICES)
NAMED: dict[str, Any] = {"authMerchantId": "m", "merchantAgreementId": "a"}


# --- notices ------------------------------------------------------------------


@pytest.mark.parametrize("when", ["queued", "calling", "waiting", "held", "parked"])
def test_a_notice_settles_its_token_in_any_phase(desk: Desk, when: str) -> None:
    """A notice makes the token dead wherever its saga stands: no further call, and no letter."""

    async def story() -> None:
        await desk.open()
        if when in ("waiting", "parked"):
            desk.hub.answers[Step.CONSULT] = [SILENCE if when == "waiting" else FAILED]
        if when == "held":
            desk.holds.until[Step.CONSULT] = EPOCH_MS + 10**9
        if when in ("queued", "calling"):
            desk.hub.slow = asyncio.Event()
        if when == "queued":
            desk.request(A, "token-0")
        desk.request(A, "token-1")
        expected = {"queued": "requested", "calling": "requested"}.get(when, when)
        await desk.until(lambda: desk.told()[-1:] == [expected] and (desk.hub.calls or when == "held"))
        if when == "queued":
            await desk.until(lambda: desk.told().count("requested") == 2)
        before = len(desk.hub.calls)
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.states()[-1]["evidence"] == "notice"
        assert len(desk.hub.calls) == before
        assert desk.letters() == {}

    desk.play(story())


def test_a_notice_without_binding_is_broadcast_once_with_a_fingerprint(desk: Desk) -> None:
    """It goes to every other partition with its transaction, its token replaced, and no further."""

    async def story() -> None:
        await desk.open()
        desk.notice(accessToken="secret-token")
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        (sent,) = desk.cluster.committed(NOTICES, 1)
        assert dict(sent.headers)[BROADCAST_FROM_HEADER] == f"{NOTICES}/0/0".encode()
        body = orjson.loads(sent.value or b"")
        assert body["tokenFingerprint"] == desk.vault.fingerprint("secret-token")
        assert "accessToken" not in body
        assert b"secret-token" not in desk.written()
        desk.notice(
            tokenFingerprint=body["tokenFingerprint"],
            headers=((BROADCAST_FROM_HEADER, f"{NOTICES}/1/0".encode()),),
        )
        await desk.until(lambda: desk.position(Input.NOTICES) == 2)
        assert len(desk.cluster.committed(NOTICES, 1)) == 1
        desk.request(A, "secret-token")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls == []

    desk.play(story())


def test_a_stray_notice_is_forwarded_to_its_binding(desk: Desk) -> None:
    """A notice with the binding id of another partition goes there, and does nothing here."""

    async def story() -> None:
        await desk.open()
        desk.notice(bindingId=home("a", 1), accessToken="secret-token")
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        (sent,) = desk.cluster.committed(NOTICES, 1)
        assert FORWARDED_FROM_HEADER in dict(sent.headers)
        assert b"secret-token" not in desk.written()
        assert desk.journal() == {"position"}

    desk.play(story())


def test_an_early_notice_is_remembered(desk: Desk) -> None:
    """A notice without a saga is kept over a restart: the request that comes later calls nothing."""

    async def story() -> None:
        await desk.open()
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: any(key.startswith("dead:") for key in desk.journal()))
        await desk.crash()
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls == []

    desk.play(story())


def test_a_notice_after_a_refusal_is_remembered(desk: Desk) -> None:
    """The only saga of the token ended without ending it: the evidence is kept for the next request."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [REFUSED]
        desk.request(A, "token-1")
        await desk.until(lambda: "refused" in desk.told())
        desk.notice(bindingId=A, accessToken="token-1")
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        desk.request(A, "token-1")
        await desk.until(lambda: "unbound" in desk.told())
        assert len(desk.hub.calls) == 1

    desk.play(story())


@pytest.mark.parametrize(("older", "calls"), [(True, 0), (False, 1)])
def test_an_agreements_notice_counts_for_older_requests_only(desk: Desk, *, older: bool, calls: int) -> None:
    """An agreement can be made anew under its name: a notice of before the request says nothing about it."""

    async def story() -> None:
        await desk.open()
        await desk.rest(100)
        desk.notice(bindingId=A, at=EPOCH_MS + 50_000, **NAMED)
        await desk.until(lambda: desk.position(Input.NOTICES) == 1)
        asked_at = EPOCH_MS + (40_000 if older else 60_000)
        desk.request(A, None, agreement=AGREEMENT, requestedAt=rfc3339(asked_at))
        await desk.until(lambda: "unbound" in desk.told())
        assert len(desk.hub.calls) == calls

    desk.play(story())


def test_a_late_notice_buries_nothing_younger(desk: Desk) -> None:
    """A notice that arrives late says when the agreement died: a request made since then is called for."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_AGREEMENT] = [SILENCE]
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(lambda: "waiting" in desk.told())
        died_at = desk.now()
        await desk.rest(2)
        asked_at = desk.now()
        await desk.rest(1)
        desk.notice(bindingId=A, at=died_at, **NAMED)
        await desk.until(lambda: "unbound" in desk.told())
        desk.request(A, None, agreement=AGREEMENT, requestedAt=rfc3339(asked_at))
        await desk.until(lambda: desk.told().count("unbound") == 2)
        assert len(desk.hub.calls) == 2

    desk.play(story())


@pytest.mark.parametrize(
    "body",
    [
        {"tokenFingerprint": "prints-1:" + "z" * 64},
        {"tokenFingerprint": "prints-1:" + "-" * 43},
        {"accessToken": "sealed:no:\u00e9"},
        {"accessToken": 5},
        {},
    ],
)
def test_a_notice_of_nonsense_is_parked(desk: Desk, body: dict[str, Any]) -> None:
    """A notice with hostile values gets a letter; the shard does not even restart."""

    async def story() -> None:
        await desk.open()
        desk.notice(bindingId=A, **body)
        desk.request(B)
        await desk.until(lambda: "unbound" in desk.told())
        await desk.until(desk.letters)
        (letter,) = desk.letters().values()
        assert letter.reason is Reason.INVALID
        desk.command(letter.key, 0)
        await desk.until(desk.verdicts)
        assert "came as a notice" in desk.verdicts()[0]["because"]
        assert desk.log.restores == 1

    desk.play(story())


def test_a_flood_of_notices_is_taken_over_by_blocks(desk: Desk) -> None:
    """Notices without sagas do not pile up as records of their own, and no block grows beyond bounds."""

    async def story() -> None:
        await desk.open()
        for number in range(5_000):
            desk.cluster.append(
                NOTICES,
                0,
                key=None,
                value=orjson.dumps(
                    {"noticeId": "n", "at": rfc3339(desk.now()), "bindingId": A, "accessToken": f"t{number}"}
                ),
                headers=tuple(
                    event_headers(event_id="n", source="s", event_type=TOKEN_CANCELED, at=desk.now())
                ),
            )
        await desk.until(lambda: desk.position(Input.NOTICES) == 5_000)
        kept = [key for key in desk.journal() if key.startswith("dead:")]
        assert len(kept) + len(desk.memory.seen) == 5_000
        assert len(kept) < 2_600
        desk.request(A, "t0")
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.calls == []

    desk.play(story())


# --- commands -----------------------------------------------------------------


def replayed(desk: Desk) -> dict[str, Any]:
    """Return the one verdict."""
    (verdict,) = desk.verdicts()
    return verdict


def test_a_replay_goes_on_at_the_failed_step(desk: Desk) -> None:
    """The saga keeps its id and its results, its letter goes, and one verdict says so."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.hub.steps() == [Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_TOKEN]
        assert {event["sagaId"] for event in desk.states()} == {key}
        assert desk.letters() == {}
        assert replayed(desk)["ruling"] == "applied"

    desk.play(story())


def test_a_discard_ends_the_saga_and_removes_its_letter(desk: Desk) -> None:
    """A discard is final; before any revoke attempt debits are allowed again."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence, discard=True)
        await desk.until(lambda: "discarded" in desk.told())
        assert desk.states()[-1]["debits"] == "allowed"
        assert desk.letters() == {}

    desk.play(story())


def test_a_stale_command_is_refused(desk: Desk) -> None:
    """A command that expects another sequence changes nothing."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        (key,) = desk.letters()
        desk.command(key, 7)
        await desk.until(desk.verdicts)
        assert "moved on" in replayed(desk)["because"]
        assert replayed(desk)["foundSequence"] == 2
        assert desk.letters()

    desk.play(story())


def test_of_two_equal_commands_one_applies(desk: Desk) -> None:
    """The same replay ordered twice runs once: the second one finds the letter moved on."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        for _ in range(2):
            desk.command(key, letter.sequence)
        await desk.until(lambda: len(desk.verdicts()) == 2)
        assert [verdict["ruling"] for verdict in desk.verdicts()] == ["applied", "refused"]
        assert "not parked" in desk.verdicts()[1]["because"]

    desk.play(story())


def test_a_repeated_command_does_not_replay_a_letter_that_was_parked_again(desk: Desk) -> None:
    """A replay that comes again after its saga was parked anew runs no second time."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED, FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(lambda: desk.told(A).count("parked") == 2)
        desk.command(key, letter.sequence)
        await desk.until(lambda: len(desk.verdicts()) == 2)
        assert "moved on" in desk.verdicts()[1]["because"]
        assert desk.hub.steps().count(Step.CANCEL_TOKEN) == 2

    desk.play(story())


def test_too_many_replays_need_force(desk: Desk) -> None:
    """The third replay is refused without force, with the command that would proceed."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED] * 3
        desk.request(A)
        for turn in range(4):
            await desk.until(desk.letters)
            ((key, letter),) = desk.letters().items()
            desk.command(key, letter.sequence, force=turn == 3)
            await desk.rest(5)
            assert len(desk.verdicts()) == turn + 1
        assert [verdict["ruling"] for verdict in desk.verdicts()] == ["applied"] * 2 + ["refused", "applied"]
        assert "--force" in desk.verdicts()[2]["instead"]

    desk.play(story())


def test_from_the_start_is_refused_after_a_revoke(desk: Desk) -> None:
    """Once a revocation was attempted, permission is never asked for again."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_TOKEN] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        start: dict[str, Any] = {"from": "start"}
        desk.command(key, letter.sequence, **start)
        await desk.until(desk.verdicts)
        assert "attempted" in replayed(desk)["because"]

    desk.play(story())


def test_an_expired_request_can_only_be_discarded(desk: Desk) -> None:
    """What expired before its turn is not replayed."""

    async def story() -> None:
        await desk.open()
        desk.request(A, expiresAt="2025-01-01T00:00:00Z")
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(desk.verdicts)
        assert "only be discarded" in replayed(desk)["because"]

    desk.play(story())


def test_a_cancel_is_not_replayed_after_a_rebinding(desk: Desk) -> None:
    """A rebinding was offered while the letter stood: a late cancel could end the new agreement."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CANCEL_AGREEMENT] = [FAILED]
        desk.request(A, None, agreement=AGREEMENT)
        await desk.until(desk.letters)
        desk.request(A, None, kind=REBINDING_REQUESTED, **REBIND)
        await desk.until(lambda: "offered" in desk.told())
        await desk.crash()
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(desk.verdicts)
        assert "rebinding" in replayed(desk)["because"]

    desk.play(story())


def test_a_command_for_an_unknown_letter_is_refused(desk: Desk) -> None:
    """A letter that is gone, or lies in another partition, is named as such."""

    async def story() -> None:
        await desk.open()
        desk.command("0123456789abcdef", 1)
        await desk.until(desk.verdicts)
        assert "partition" in replayed(desk)["because"]

    desk.play(story())


@pytest.mark.fault("a command that cannot be read")
@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", b'{"letter": "a b"}'])
def test_an_unreadable_command_has_a_verdict(desk: Desk, value: bytes | None) -> None:
    """A command that cannot be read ends in a verdict under its origin."""

    async def story() -> None:
        await desk.open()
        headers = event_headers(event_id="x", source="s", event_type=REPLAY_REQUESTED, at=desk.now())
        desk.send(LogicalTopic.COMMANDS, value, headers)
        await desk.until(desk.verdicts)
        assert replayed(desk)["letter"] == f"{topic_name(LogicalTopic.COMMANDS)}/0/0"

    desk.play(story())


def test_an_invalid_request_is_read_anew(desk: Desk) -> None:
    """A replay of an invalid request parks it again, or lets it run where the profile has changed."""

    async def story() -> None:
        steps = desk.profile.steps
        desk.profile = Profile(steps=tuple(step for step in steps if step is not Step.CANCEL_AGREEMENT))
        desk.hire()
        await desk.open()
        desk.request(A, None, agreement=AGREEMENT, event_id="one")
        await desk.until(desk.letters)
        ((key, letter),) = desk.letters().items()
        assert letter.reason is Reason.INVALID
        desk.command(key, letter.sequence)
        await desk.until(desk.verdicts)
        assert desk.told() == ["parked", "resumed", "parked"]
        await desk.shard.close()
        desk.profile = Profile(steps=steps)
        desk.hire()
        await desk.open()
        desk.command(key, desk.letters()[key].sequence)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.states()[-1]["requestIds"] == ["one"]
        desk.request(A, None, agreement=AGREEMENT, event_id="one")
        await desk.until(lambda: desk.position(Input.REQUESTS) == 2)
        assert desk.told().count("requested") == 0

    desk.play(story())


def test_an_unreadable_letter_is_parked_again(desk: Desk) -> None:
    """Its sequence counts replays; each one parks it anew."""

    async def story() -> None:
        await desk.open()
        desk.send(LogicalTopic.REQUESTS, b"junk")
        await desk.until(desk.letters)
        (key,) = desk.letters()
        desk.command(key, 0)
        await desk.until(lambda: desk.letters()[key].replays == 1)
        await desk.crash()
        desk.command(key, 1, discard=True)
        await desk.until(lambda: len(desk.verdicts()) == 2)
        assert desk.letters() == {}
        assert desk.journal() == {"position"}

    desk.play(story())


@pytest.mark.parametrize(
    ("change", "because"), [("gone", "is gone"), ("other", "not the one"), ("silent", "could not be read")]
)
def test_a_value_that_was_not_copied_is_read_at_its_origin(change: str, because: str) -> None:
    """It is admitted if its SHA-256 fits; if it is gone, another, or cannot be read the replay is refused."""
    desk = Desk(record_bytes=1_000)

    async def story() -> None:
        await desk.open()
        desk.request(A, passThroughInfo="x" * 2_000)
        await desk.until(desk.letters)
        (key,) = desk.letters()
        requests = topic_name(LogicalTopic.REQUESTS)
        part = desk.cluster._place((requests, 0))  # noqa: SLF001 - what Kafka never does, and disks do
        kept = list(part.records)
        if change == "gone":
            part.records = []
        elif change == "other":
            desk.request(A, passThroughInfo="y" * 2_000)
            part.records = [replace(part.records[1], offset=0)]
        else:
            desk.log.unreadable = True
        desk.command(key, 0)
        await desk.until(desk.verdicts)
        assert because in desk.verdicts()[0]["because"]
        assert desk.log.restores == 1
        part.records = kept
        desk.log.unreadable = False
        desk.command(key, 0)
        await desk.until(lambda: "unbound" in desk.told())
        assert key not in desk.letters()

    desk.play(story())


def test_a_command_that_cannot_be_applied_has_a_verdict(desk: Desk) -> None:
    """Where the effects of a command cannot be written it is refused, and never becomes a letter itself."""

    async def story() -> None:
        await desk.open()
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(A)
        await desk.until(desk.letters)
        desk.log.refuses = lambda writes: any(write.topic is LogicalTopic.STATES for write in writes)
        ((key, letter),) = desk.letters().items()
        desk.command(key, letter.sequence)
        await desk.until(desk.verdicts)
        assert replayed(desk)["ruling"] == "refused"
        assert list(desk.letters()) == [key]

    desk.play(story())


@pytest.mark.fault("the broker refuses verdicts")
def test_a_verdict_that_cannot_be_written_waits(desk: Desk) -> None:
    """While the verdicts take no writes commands wait, requests go on, and no command is lost."""

    async def story() -> None:
        await desk.open()
        desk.log.refuses = lambda writes: any(write.topic is LogicalTopic.VERDICTS for write in writes)
        desk.command("0123456789abcdef", 1)
        await desk.rest(5)
        desk.request(A)
        await desk.until(lambda: "unbound" in desk.told())
        assert desk.verdicts() == []
        desk.log.refuses = lambda _: False
        await desk.until(desk.verdicts)
        assert len(desk.verdicts()) == 1

    desk.play(story())
