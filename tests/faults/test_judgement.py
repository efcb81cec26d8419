"""The judgement of a stage can fail: each promise that is broken in what a stage left behind is told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from contracts.cloudevents import event_headers
from contracts.requests import UNBINDING_REQUESTED
from contracts.states import (
    BINDING_STATE_CHANGED,
    Debits,
    Evidence,
    State,
    Step,
    encode_state_changed,
    state_event_id,
)
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import rfc3339
from tests.faults.diary import Line, read_lines
from tests.faults.judgement import Remains, judge
from tests.faults.payment_side import LedgerCall, client_of
from tests.faults.stage import PARTITIONS, Freeze
from tests.simulation.cluster import Stored
from worker.sandbox.payment import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_767_225_600_000
BINDING = "binding-1"
HOME = partition_of(BINDING, PARTITIONS)
TOKEN = "demo.allow.slow20.t1"
SAGA = "0123456789abcdef0123456789abcdef"
REQUESTS, STATES = topic_name(LogicalTopic.REQUESTS), topic_name(LogicalTopic.STATES)


@dataclass
class Shelf:
    """Records by topic and partition."""

    records: dict[tuple[str, int], list[Stored]] = field(default_factory=dict)

    def archive(self, topic: str, partition: int) -> list[Stored]:
        """Return the records of a partition."""
        return self.records.get((topic, partition), [])

    def written(self) -> Iterator[Stored]:
        """Yield what the worker wrote."""
        yield from self.archive(STATES, HOME)

    def put(self, topic: str, at: int, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        """Append a record."""
        records = self.records.setdefault((topic, HOME), [])
        records.append(
            Stored(
                topic=topic,
                partition=HOME,
                offset=len(records),
                timestamp_at=at,
                key=BINDING.encode(),
                value=value,
                headers=tuple(headers),
                transaction=None,
                appended=at * 2,
            )
        )


def shelf_of(remains: Remains) -> Shelf:
    """Return the shelf of hand-made remains."""
    assert isinstance(remains.archive, Shelf)
    return remains.archive


def state(
    shelf: Shelf,
    sequence: int,
    at: int,
    state: State,
    *,
    done: tuple[Step, ...] = (),
    evidence: Evidence | None = None,
) -> None:
    """Publish one event of the saga."""
    value = encode_state_changed(
        binding_id=BINDING,
        saga_id=SAGA,
        request_ids=["event-1"],
        sequence=sequence,
        state=state,
        at=at,
        done=done,
        attempts=0,
        debits=Debits.BLOCKED,
        next_attempt_at=at + 100 if state is State.WAITING else None,
        evidence=evidence,
    )
    headers = event_headers(
        event_id=state_event_id(SAGA, sequence), source="/unbinding", event_type=BINDING_STATE_CHANGED, at=at
    )
    shelf.put(STATES, at, value, headers)


def call(number: int, step: Step, at: int, *, worker: str = "a-1", ended: str = "answered") -> LedgerCall:
    """Return a call that took 20 ms."""
    return LedgerCall(
        number=number,
        step=step.value,
        client_id=client_of(worker),
        fingerprint=fingerprint(TOKEN),
        received_at=at,
        ended=ended,
        ended_at=at + 20,
        effect=step is Step.CANCEL_TOKEN,
        says_status="S",
    )


def line(worker: str, at: int, event: str, **fields: object) -> Line:
    """Return a log line."""
    return Line(worker=worker, at=at, event=event, fields=fields)


def good() -> Remains:
    """Return what one request leaves behind when all is well."""
    shelf = Shelf()
    request = {
        "bindingId": BINDING,
        "initiator": "wallet",
        "requestedAt": rfc3339(START),
        "authClientId": "client-1",
        "referenceMerchantId": "merchant-1",
        "accessToken": TOKEN,
    }
    headers = event_headers(event_id="event-1", source="/up", event_type=UNBINDING_REQUESTED, at=START)
    shelf.put(REQUESTS, START, orjson.dumps(request), headers)
    state(shelf, 1, START + 10, State.REQUESTED)
    state(shelf, 2, START + 100, State.ALLOWED, done=(Step.CONSULT,))
    state(shelf, 3, START + 200, State.REVOKED, done=(Step.CONSULT, Step.CANCEL_TOKEN))
    state(shelf, 4, START + 200, State.UNBOUND, done=(Step.CONSULT, Step.CANCEL_TOKEN))
    return Remains(
        archive=shelf,
        ledger=[call(1, Step.CONSULT, START + 50), call(2, Step.CANCEL_TOKEN, START + 150)],
        lines=[line("a-1", START, "shard.opened", partition=HOME)],
        freezes=[],
        ends={},
        call_ms=2_000,
        tokens=[TOKEN],
    )


def promises(remains: Remains) -> set[str]:
    """Return the promises that are broken."""
    return {violation.promise for violation in judge(remains)[1]}


def test_nothing_to_complain_of() -> None:
    """A saga that went well breaks no promise."""
    assert judge(good())[1] == []


def test_event_twice() -> None:
    """An event that was published twice breaks P2."""
    remains = good()
    assert isinstance(remains.archive, Shelf)
    state(remains.archive, 4, START + 300, State.UNBOUND, done=(Step.CONSULT, Step.CANCEL_TOKEN))
    assert "P2" in promises(remains)


def test_revoke_without_permission() -> None:
    """A revoke call before the event that allows it breaks P3."""
    remains = good()
    early = replace(
        remains, ledger=[call(1, Step.CONSULT, START + 50), call(2, Step.CANCEL_TOKEN, START + 90)]
    )
    assert promises(early) == {"P3"}


def test_revoke_of_the_dead() -> None:
    """A revoke call after the event that tells of the revocation breaks P3."""
    remains = good()
    again = call(3, Step.CANCEL_TOKEN, START + 260)
    assert promises(replace(remains, ledger=[*remains.ledger, again])) == {"P3"}


def test_call_of_another_worker() -> None:
    """A call by a worker that has not opened the shard last breaks P3."""
    remains = good()
    moved = [*remains.lines, line("b-1", START + 120, "shard.opened", partition=HOME)]
    assert promises(replace(remains, lines=moved)) == {"P3"}


def test_call_of_a_woken_worker() -> None:
    """A call that comes later than the first moment after SIGCONT, and before a lease, breaks P3."""
    freeze = Freeze(worker="a-1", stopped_at=START - 9_000, went_on_at=START - 1_000)
    gained = line("a-1", START + 10, "lease.gained", partitions=[HOME])
    asleep = replace(good(), freezes=[freeze])
    assert promises(asleep) == {"P3"}
    assert promises(replace(asleep, lines=[*asleep.lines, gained])) == set()


def test_call_at_the_gate() -> None:
    """A call that leaves as its worker wakes was on its way, unless it fell due while that was frozen."""
    remains = good()
    freeze = Freeze(worker="a-1", stopped_at=START + 20, went_on_at=START + 149)
    gained = line("a-1", START + 160, "lease.gained", partitions=[HOME])
    ledger = [call(1, Step.CONSULT, START + 15), call(2, Step.CANCEL_TOKEN, START + 150)]
    woken = replace(remains, freezes=[freeze], lines=[*remains.lines, gained], ledger=ledger)
    assert promises(woken) == set()
    shelf = Shelf({(REQUESTS, HOME): shelf_of(remains).archive(REQUESTS, HOME)})
    state(shelf, 1, START + 10, State.REQUESTED)
    state(shelf, 2, START + 18, State.ALLOWED, done=(Step.CONSULT,))
    state(shelf, 3, START + 19, State.WAITING, done=(Step.CONSULT,))
    state(shelf, 4, START + 200, State.REVOKED, done=(Step.CONSULT, Step.CANCEL_TOKEN))
    state(shelf, 5, START + 200, State.UNBOUND, done=(Step.CONSULT, Step.CANCEL_TOKEN))
    assert promises(replace(woken, archive=shelf)) == {"P3"}


def test_call_taken_up_late() -> None:
    """A call that the payment side took up when its caller had gone proves nothing."""
    remains = good()
    late = call(3, Step.CANCEL_TOKEN, START + 260, ended="client_left")
    assert promises(replace(remains, ledger=[*remains.ledger, late])) == set()


def test_call_on_its_way_when_a_notice_came() -> None:
    """A call taken up just after a notice ended its step had left before; one that comes later breaks P3."""
    remains = good()
    shelf = Shelf({(REQUESTS, HOME): shelf_of(remains).archive(REQUESTS, HOME)})
    done = (Step.CONSULT, Step.CANCEL_TOKEN)
    state(shelf, 1, START + 10, State.REQUESTED)
    state(shelf, 2, START + 100, State.ALLOWED, done=(Step.CONSULT,))
    state(shelf, 3, START + 140, State.REVOKED, done=done, evidence=Evidence.NOTICE)
    state(shelf, 4, START + 140, State.UNBOUND, done=done, evidence=Evidence.NOTICE)
    told = replace(remains, archive=shelf)
    assert "P3" not in promises(told)
    late = call(3, Step.CANCEL_TOKEN, START + 140 + remains.call_ms)
    assert "P3" in promises(replace(told, ledger=[*remains.ledger, late]))


def test_calls_after_a_nap() -> None:
    """A worker that napped for less than a session may have its lease still: its calls break nothing."""
    nap = Freeze(worker="a-1", stopped_at=START - 2_000, went_on_at=START - 1_000, is_nap=True)
    assert promises(replace(good(), freezes=[nap])) == set()


def test_drain_that_was_hindered() -> None:
    """A drain that failed is told, unless its worker was frozen meanwhile, or had no broker to commit to."""
    remains = good()
    failed = replace(remains, lines=[*remains.lines, line("a-1", START + 20_000, "drain.failed")])
    assert promises(failed) == {"P10"}
    frozen = Freeze(worker="a-1", stopped_at=START + 15_000, went_on_at=START + 19_000, is_nap=True)
    assert promises(replace(failed, freezes=[frozen])) == set()
    assert promises(replace(failed, freezes=[replace(frozen, worker="b-1")])) == {"P10"}
    assert promises(replace(failed, shaken=[(START + 1_000, START + 16_000)])) == set()
    assert promises(replace(failed, shaken=[(START + 1_000, START + 2_000)])) == {"P10"}


def test_token_in_a_log() -> None:
    """A token in what a worker printed breaks P8."""
    assert promises(replace(good(), outputs={"a-1.log": f"oh: {TOKEN}".encode()})) == {"P8"}


def test_crash_in_a_log() -> None:
    """A saga that crashed inside the worker is told, however well it ended."""
    remains = good()
    assert promises(replace(remains, lines=[*remains.lines, line("a-1", START, "saga.crashed")])) == {"P10"}


def test_torn_line(tmp_path: Path) -> None:
    """A log line that a kill has torn is left out, those before it are read."""
    log = tmp_path / "a-1.log"
    whole = b'{"at":"2026-01-01T00:00:00.007Z","event":"lease.gained","partitions":[2,3]}\n'
    log.write_bytes(whole + b'{"at":"2026-01-01T00:0')
    (found,) = read_lines("a-1", log)
    assert (found.at, found.partitions) == (START + 7, frozenset({2, 3}))
