"""Bad records of every kind in one load: each comes to its end, and its neighbours to theirs."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from contracts.commands import Ruling
from contracts.states import Reason
from tests.brokers.fixtures import fresh_prefix
from tests.faults.inputs.bad_commands import BAD_COMMANDS, BadCommand
from tests.faults.inputs.bad_holds import BAD_HOLDS, BadHold
from tests.faults.inputs.bad_notices import BAD_NOTICES, BadNotice
from tests.faults.inputs.bad_requests import BAD_REQUESTS, BadRequest, Lettered, Parked, Unbound
from tests.faults.inputs.batches import CODECS
from tests.faults.inputs.flood import Aftermath, flood

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.dead_letters import LetterHeaders
    from tests.brokers.fixtures import Broker

pytestmark = [pytest.mark.broker, pytest.mark.promise("P1", "P10")]


@pytest.fixture(scope="module")
def aftermath(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """Play the flood once; the tests look at what came of it."""
    directory = tmp_path_factory.mktemp("flood")
    return asyncio.run(flood(directory, bootstrap_servers=broker.bootstrap_servers, prefix=fresh_prefix()))


def named(cases: Sequence[BadRequest | BadCommand | BadNotice | BadHold], what: str) -> list[object]:
    """Return the cases as parameters, each with its name, and what it does to the worker."""
    return [
        pytest.param(case, id=case.name, marks=pytest.mark.fault(f"{what}: {case.name}")) for case in cases
    ]


def letters_at(aftermath: Aftermath, origin: str) -> list[LetterHeaders]:
    """Return the letters that stand for a record."""
    return [headers for headers, _ in aftermath.letters.values() if headers.origin.text == origin]


@pytest.mark.promise("P2", "P3", "P4", "P5", "P6", "P7", "P8")
@pytest.mark.fault("all bad records in one load")
def test_every_promise_is_kept(aftermath: Aftermath) -> None:
    """Under a flood of bad records every promise is kept, and the worker ends in good order when asked."""
    assert [str(violation) for violation in aftermath.violations] == []
    assert aftermath.code == 0
    assert not {"shard.refused", "transaction.failed", "transaction.split"} & {
        line.event for line in aftermath.lines
    }


@pytest.mark.parametrize("case", named(BAD_REQUESTS, "request"))
def test_bad_request(aftermath: Aftermath, case: BadRequest) -> None:
    """A bad request comes to the end it should, with a reason in words; its neighbours are unbound."""
    sent = aftermath.requests[case.name]
    assert [aftermath.ends(binding_id) for binding_id in sent.neighbours] == [["unbound"], ["unbound"]]
    match case.end:
        case Unbound():
            assert aftermath.ends(sent.binding_id) == ["unbound"]
            assert letters_at(aftermath, sent.origin) == []
        case Parked(reason=reason, says=says):
            assert aftermath.ends(sent.binding_id) == ["parked"]
            (letter,) = [
                headers for headers, _ in aftermath.letters.values() if headers.binding_id == sent.binding_id
            ]
            assert letter.reason is reason
            assert says in letter.message
            assert letter.sealed_with is not None
        case Lettered(reason=reason, says=says):
            assert aftermath.ends(sent.binding_id) == []
            (letter,) = letters_at(aftermath, sent.origin)
            assert letter.key == sent.origin
            assert letter.reason is reason
            assert says in letter.message
            assert (letter.origin_sha256 is not None) == (reason is Reason.TOO_LARGE)
            assert (letter.sealed_with is None) == (reason is Reason.TOO_LARGE)


@pytest.mark.fault("request: forged headers of a dead letter")
def test_a_forged_letter_forges_nothing(aftermath: Aftermath) -> None:
    """Headers of a letter that upstream wrote itself are not in the letter that the worker writes."""
    origin = aftermath.requests["forged letter"].origin
    headers, stored = aftermath.letters[origin]
    names = [name for name, _ in stored.headers]
    assert len(names) == len(set(names))
    assert b"forged" not in [content for _, content in stored.headers]
    assert (headers.saga_id, headers.reason) == (None, Reason.UNREADABLE)


@pytest.mark.fault("request: a value of 1 MB")
def test_what_is_not_copied_can_be_checked(aftermath: Aftermath) -> None:
    """The letter of a value that was not copied has the SHA-256 of the value at its origin."""
    sent = aftermath.requests["one byte more than is copied"]
    (letter,) = letters_at(aftermath, sent.origin)
    _headers, stored = aftermath.letters[letter.key]
    assert stored.value == b""
    assert letter.origin_sha256 == hashlib.sha256(aftermath.values[sent.origin] or b"").hexdigest()


@pytest.mark.parametrize(
    "codec", [pytest.param(codec, marks=pytest.mark.fault(f"compressed with {codec}")) for codec in CODECS]
)
def test_a_batch_that_java_has_compressed(aftermath: Aftermath, codec: str) -> None:
    """A batch that the broker itself has compressed is read, whatever the codec."""
    assert aftermath.ends(aftermath.recompressed[codec]) == ["unbound"]


@pytest.mark.parametrize("case", named(BAD_NOTICES, "notice"))
def test_bad_notice(aftermath: Aftermath, case: BadNotice) -> None:
    """A bad notice leaves a letter with the reason in words; the good ones beside it are evidence."""
    sent = aftermath.notices[case.name]
    (letter,) = letters_at(aftermath, sent.origin)
    assert letter.key == sent.origin
    assert letter.reason is case.reason
    assert case.says in letter.message
    for binding_id in sent.neighbours:
        (course,) = aftermath.courses(binding_id)
        assert course[-3:] == ["parked", "revoked", "unbound"]
        assert [
            event.evidence
            for event in aftermath.history.states
            if event.binding_id == binding_id and event.state in {"revoked", "unbound"}
        ] == ["notice", "notice"]


@pytest.mark.promise("P7")
@pytest.mark.parametrize("case", named(BAD_COMMANDS, "command"))
def test_bad_command(aftermath: Aftermath, case: BadCommand) -> None:
    """A bad command is refused in words, once; the good one behind it in its batch is applied."""
    sent = aftermath.commands[case.name]
    number = 2 * BAD_COMMANDS.index(case)
    (refused,) = [
        verdict
        for verdict in aftermath.verdicts
        if (verdict.command_id == f"command-{number}" if case.readable else verdict.letter == sent.origin)
    ]
    assert refused.ruling is Ruling.REFUSED
    assert case.says in (refused.because or "")
    (applied,) = [verdict for verdict in aftermath.verdicts if verdict.command_id == f"command-{number + 1}"]
    assert applied.ruling is Ruling.APPLIED
    (neighbour,) = sent.neighbours
    assert aftermath.ends(neighbour) == ["discarded"]


@pytest.mark.parametrize("case", named(BAD_HOLDS, "hold"))
def test_bad_hold(aftermath: Aftermath, case: BadHold) -> None:
    """A record that is no hold is ignored, and the log says which and why."""
    said = [
        str(line.fields["cause"])
        for line in aftermath.lines
        if line.event == "hold.ignored" and line.fields["hold_id"] == case.id_bytes.decode(errors="replace")
    ]
    assert len(said) == 1
    assert case.says in said[0]


@pytest.mark.fault("hold: a good one among bad ones")
def test_the_good_hold_is_obeyed(aftermath: Aftermath) -> None:
    """Among bad holds, one of them under its own id, the good one stops its client until it is released."""
    assert aftermath.courses(aftermath.held) == [["requested", "held", "allowed", "revoked", "unbound"]]
