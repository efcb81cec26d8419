"""Makes a history of what a stage has left behind, for the checker, and judges what only a stage shows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from contracts.origins import Origin
from contracts.topics import partition_of
from tests.faults.diary import Line, Owners
from tests.faults.stage import PARTITIONS
from worker.sandbox.payment import fingerprint
from worker.verify.calls import moment_of, saga_of, sagas_by_target
from worker.verify.checker import Violation, check
from worker.verify.history import Attempt, History, Written
from worker.verify.reader import read_history

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.faults.payment_side import LedgerCall
    from tests.faults.stage import Freeze
    from worker.verify.reader import Records

_WAKING_MS: Final = 250
"""In this time after SIGCONT the calls come that had passed their gate, but not the wire."""
_GATED: Final = 1
"""So many calls may have passed their gates in one step of the event loop, which the stop cuts in two."""
_LATE_MS: Final = 50
"""The payment side may note the end of a call so much later than its caller had the answer."""
_DRAIN_MS: Final = 12_000
"""How long a drain of a stage's worker may take, and what came before it in its shard's loop."""
_BAD_EVENTS: Final = ("event.misnamed", "shard.crashed", "saga.crashed", "drain.failed", "worker.failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a stage has left behind, as plain data."""

    archive: Records
    ledger: Sequence[LedgerCall]
    lines: Sequence[Line]
    freezes: Sequence[Freeze]
    ends: Mapping[str, int]
    """When each process ended, as far as it has."""
    call_ms: int
    """How long a call may take as a whole."""
    tokens: Sequence[str]
    shaken: Sequence[tuple[int, int]] = ()
    """From when to when the broker was hurt."""
    outputs: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What the workers printed, by file name."""


def open_requests(archive: Records) -> list[Violation]:
    """Return what has not come to its end yet."""
    history = read_history(archive, partitions=PARTITIONS, with_bytes=False)
    return [violation for violation in check(history) if violation.promise in {"P1", "P7"}]


def judge(remains: Remains, *, at_rest: bool = True) -> tuple[History, list[Violation]]:
    """Return the history, and each promise that it shows broken; not at rest, nothing needs its end yet."""
    bare = read_history(remains.archive, partitions=PARTITIONS, with_bytes=False, at_rest=at_rest)
    owners = Owners(remains.lines)
    attempts = tuple(_attempts(remains, bare, owners))
    forgiven = _at_the_gate(remains, bare, attempts)
    for attempt in attempts:
        if attempt.number in forgiven:
            attempt.owner = None
    history = replace(
        bare,
        attempts=attempts,
        written=tuple(_written(remains)),
        secrets=frozenset(token.encode() for token in remains.tokens),
        limits=replace(bare.limits, call_ms=remains.call_ms),
    )
    return history, [
        *check(history),
        *_zombies_silent(remains, forgiven),
        *_calls_known(remains, attempts),
        *_logs_good(remains),
    ]


# --- the history ---------------------------------------------------------------------


def _attempts(remains: Remains, history: History, owners: Owners) -> Iterator[Attempt]:
    tokens = {fingerprint(token): token for token in remains.tokens}
    sagas = sagas_by_target(history)
    for call in remains.ledger:
        token = tokens.get(call.fingerprint)
        if token is None or _taken_up_late(call, remains):
            continue
        events = saga_of(sagas.get(f"token:{token}", []), call.received_at, call_ms=remains.call_ms)
        if events is None:
            continue
        saga_id, binding_id = events[0].saga_id, events[0].binding_id
        owner = owners.of(partition_of(binding_id, PARTITIONS), call.received_at)
        answered = call.ended == "answered" and call.ended_at is not None
        yield Attempt(
            number=call.number,
            process=call.worker,
            owner=owner,
            saga_id=saga_id,
            binding_id=binding_id,
            step=call.step,
            attempt=0,
            quick=False,
            query=False,
            target=f"token:{token}",
            begun=moment_of(call.received_at, call.step, events),
            begun_at=call.received_at,
            arrived=moment_of(call.received_at, call.step, events),
            ended=(call.ended_at - _LATE_MS) * 2 + 1 if answered and call.ended_at is not None else None,
            result_class=call.ended,
        )


def _written(remains: Remains) -> Iterator[Written]:
    for stored in remains.archive.written():
        headers = b"\n".join(name.encode() + b"=" + content for name, content in stored.headers)
        yield Written(
            origin=Origin(stored.topic, stored.partition, stored.offset).text,
            content=b"\n".join((stored.key or b"", stored.value or b"", headers)),
        )
    for name, content in remains.outputs.items():
        yield Written(origin=name, content=content)


# --- what only a stage shows -----------------------------------------------------------


def calls_after_waking(
    freeze: Freeze, *, ledger: Iterable[LedgerCall], lines: Iterable[Line]
) -> list[LedgerCall]:
    """Return the calls that a frozen worker made after it woke, and before it had a lease again."""
    went_on_at = freeze.went_on_at
    if went_on_at is None:
        return []
    gained = [
        line.at
        for line in lines
        if line.worker == freeze.worker and line.event == "lease.gained" and line.at >= went_on_at
    ]
    until_at = min(gained, default=None)
    return [
        call
        for call in ledger
        if call.worker == freeze.worker
        and went_on_at <= call.received_at
        and (until_at is None or call.received_at < until_at)
    ]


def _at_the_gate(remains: Remains, history: History, attempts: Iterable[Attempt]) -> frozenset[int]:
    """Return the calls that had passed their gate when their worker was stopped, and left as it woke.

    They were on their way. What fell due while the worker was frozen was not, nor what comes later.
    """
    saga_of = {attempt.number: attempt.saga_id for attempt in attempts}
    due: dict[str | None, list[int]] = defaultdict(list)
    for event in history.states:
        if event.next_attempt_at is not None:
            due[event.saga_id].append(event.next_attempt_at)
    found: set[int] = set()
    for freeze in remains.freezes:
        went_on_at = freeze.went_on_at or 0
        early = [
            call.number
            for call in calls_after_waking(freeze, ledger=remains.ledger, lines=remains.lines)
            if call.received_at < went_on_at + _WAKING_MS
            and not any(freeze.stopped_at < at <= call.received_at for at in due[saga_of.get(call.number)])
        ]
        found.update(early[:_GATED])
    return frozenset(found)


def _taken_up_late(call: LedgerCall, remains: Remains) -> bool:
    """Tell whether the caller had gone when the payment side, behind with its work, took up the call.

    When it began is not known then. A caller leaves when its time is up, or when it is killed.
    """
    if call.ended != "client_left" or call.ended_at is None:
        return False
    ended_at = remains.ends.get(call.worker)
    if ended_at is not None and call.ended_at >= ended_at - _LATE_MS:
        return call.received_at > ended_at
    return call.ended_at - call.received_at < remains.call_ms - _LATE_MS


def _zombies_silent(remains: Remains, forgiven: frozenset[int]) -> Iterator[Violation]:
    for freeze in remains.freezes:
        if freeze.is_nap:
            continue
        after = calls_after_waking(freeze, ledger=remains.ledger, lines=remains.lines)
        calls = [call for call in after if call.number not in forgiven]
        if calls:
            what = f"{freeze.worker} began {len(calls)} calls after it woke and before it had a lease"
            yield Violation("P3", what, (freeze, *calls))


def _calls_known(remains: Remains, attempts: Sequence[Attempt]) -> Iterator[Violation]:
    known = {attempt.number for attempt in attempts}
    for call in remains.ledger:
        if call.number not in known and not _taken_up_late(call, remains):
            yield Violation("P3", "a call that no saga explains", (call,))


def _logs_good(remains: Remains) -> Iterator[Violation]:
    for line in remains.lines:
        if line.event in _BAD_EVENTS and not _drain_hindered(line, remains):
            yield Violation("P10", f"{line.worker} logged {line.event}", (line,))


def _drain_hindered(line: Line, remains: Remains) -> bool:
    """Tell whether a drain had no broker to commit to, or its worker was frozen, for a part of its time."""
    if line.event != "drain.failed":
        return False
    frozen = [
        (freeze.stopped_at, freeze.went_on_at or line.at)
        for freeze in remains.freezes
        if freeze.worker == line.worker
    ]
    return any(
        began_at < line.at and ended_at > line.at - _DRAIN_MS
        for began_at, ended_at in [*frozen, *remains.shaken]
    )


def doubled_calls(ledger: Iterable[LedgerCall]) -> list[tuple[LedgerCall, LedgerCall]]:
    """Return the calls that repeat an earlier call of the same step and token."""
    by_step: dict[tuple[str, str], list[LedgerCall]] = defaultdict(list)
    for call in ledger:
        by_step[call.step, call.fingerprint].append(call)
    return [pair for calls in by_step.values() for pair in pairwise(calls)]
