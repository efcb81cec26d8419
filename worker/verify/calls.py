"""Calls as a payment side's ledger tells them, matched with the sagas that made them.

A ledger names tokens by a fingerprint of its own. When a call began is known by its receipt only: one whose
caller had gone before its time may have been taken up late, and is left out.
Ledger and workers must go by one clock: their times are compared.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.verify.history import Attempt
from worker.verify.legal import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from worker.verify.history import History, StateSeen

_LATE_MS: Final = 50
"""The payment side may note the end of a call so much later than its caller had the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call in a ledger. Times in ms since the Unix epoch."""

    number: int
    step: str
    client_id: str
    fingerprint: str
    received_at: int
    ended: str | None
    ended_at: int | None


def fingerprint_of(token: str) -> str:
    """Return how a ledger names a token: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def taken_up_late(call: Call, *, call_ms: int) -> bool:
    """Tell whether the caller had gone when the payment side took up the call: when it began is not known."""
    if call.ended != "client_left" or call.ended_at is None:
        return False
    return call.ended_at - call.received_at < call_ms - _LATE_MS


def attempts_of(calls: Iterable[Call], history: History, *, targets: Mapping[str, str]) -> Iterator[Attempt]:
    """Yield the calls as attempts of the sagas that were under way then.

    `targets`: by a ledger's fingerprint, the target as requests name it. Calls of other targets are left out.
    """
    sagas = sagas_by_target(history)
    for call in calls:
        target = targets.get(call.fingerprint)
        events = saga_of(sagas.get(target or "", []), call.received_at, call_ms=history.limits.call_ms)
        if target is None or events is None:
            continue
        moment = moment_of(call.received_at, call.step, events)
        answered = call.ended == "answered" and call.ended_at is not None
        yield Attempt(
            number=call.number,
            process=call.client_id,
            owner=None,
            saga_id=events[0].saga_id,
            binding_id=events[0].binding_id,
            step=call.step,
            attempt=0,
            quick=False,
            query=False,
            target=target,
            begun=moment,
            begun_at=call.received_at,
            arrived=moment,
            ended=(call.ended_at - _LATE_MS) * 2 + 1 if answered and call.ended_at is not None else None,
            result_class=call.ended,
        )


def sagas_by_target(history: History) -> dict[str, list[list[StateSeen]]]:
    """Return the sagas' events by the targets of the request that opened each."""
    targets = {
        (request.binding_id, request.request_id): request.targets
        for request in history.requests
        if request.request_id is not None
    }
    events: dict[str, list[StateSeen]] = defaultdict(list)
    for event in history.states:
        events[event.saga_id].append(event)
    found: dict[str, list[list[StateSeen]]] = defaultdict(list)
    for saga in events.values():
        for target in targets.get((saga[0].binding_id, saga[0].request_ids[0]), ()):
            found[target].append(saga)
    return found


def saga_of(sagas: Sequence[list[StateSeen]], at: int, *, call_ms: int) -> list[StateSeen] | None:
    """Return the saga that was under way at that time; else the last one that had begun, else the first.

    One that a notice has ended less than ``call_ms`` before may have sent the call before that: it counts if
    those that stand since then tell of no step, and so of no call.
    """
    moment = _moment(at)
    begun = [saga for saga in sagas if saga[0].moment < moment]
    under_way = [saga for saga in begun if _stands(saga, moment) not in ENDS | {"parked"}]
    if under_way:
        # Of several one calls and the others wait for their turn: the one that calls tells of a step first.
        first = min(under_way, key=lambda saga: _next_step_told(saga, moment))
        if _next_step_told(first, moment) < math.inf:
            return first
        overtaken = [saga for saga in begun if _overtaken(saga, moment, at, call_ms=call_ms)]
        return max(overtaken, key=lambda saga: saga[-1].moment, default=first)
    if begun:
        return max(begun, key=lambda saga: saga[0].moment)
    return sagas[0] if sagas else None


def moment_of(at: int, step: str, saga: Sequence[StateSeen]) -> int:
    """Return the moment of a saga's call: between those of its events, which stand at even ones.

    An event's time is of before its commit, so calls of that ms came later; but one whose result it tells of
    came before, cut off within the ms in which it was taken up.
    """
    first = next((event for event in saga if event.at == at), None)
    told = first is not None and first.step == step
    return _moment(at) - 2 * told


def _moment(at: int) -> int:
    return at * 2 + 1


def _overtaken(saga: Sequence[StateSeen], moment: int, at: int, *, call_ms: int) -> bool:
    end = saga[-1]
    return end.state in ENDS and end.evidence == "notice" and end.moment < moment and at < end.at + call_ms


def _stands(saga: Sequence[StateSeen], moment: int) -> str:
    told = [event.state for event in saga if event.moment < moment and event.state != "joined"]
    return told[-1] if told else "parked"


def _next_step_told(saga: Sequence[StateSeen], moment: int) -> float:
    later = (event.moment for event in saga if event.moment > moment and event.step is not None)
    return next(later, math.inf)
