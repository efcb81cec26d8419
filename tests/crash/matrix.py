"""The crash matrix as data: each point, under which load, and what is called and told in the end.

Everything that a worker tells the world lies in a transaction: events, the journal with position, letters and
their tombstones, verdicts, forwards and broadcasts, stopped lines, blocks of what is remembered. A kill meets
them all together, so what is told in the end is what an undisturbed worker tells; only calls may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from tests.crash.wire import WireMoment
from worker.crash_points import CrashPoint

if TYPE_CHECKING:
    from collections.abc import Iterator

Point = CrashPoint | WireMoment


class Killed(StrEnum):
    """A row of the crash matrix (docs/architecture.md): when it died, and what holds afterwards."""

    BEFORE_ADMISSION = "before the admission commits"
    BEFORE_CALL = "after the admission, before the call"
    BEFORE_RESULT = "during or after a call, before its result commits"
    IN_TRANSACTION = "inside a transaction"
    AFTER_COMMIT = "after the commit, before its reply arrives"
    RESTING = "while parked or waiting"
    OPENING = "while a shard opens"
    ENDING = "while it ends in good order"


AFTERWARDS: Final[dict[Killed, str]] = {
    Killed.BEFORE_ADMISSION: "the position has not moved: the input is read again",
    Killed.BEFORE_CALL: "restored; the call is made",
    Killed.BEFORE_RESULT: "the same step is called again; nobody saw an event",
    Killed.IN_TRANSACTION: "the next owner's fencing aborts it; the input is taken again",
    Killed.AFTER_COMMIT: "the next owner sees it committed; nothing is repeated",
    Killed.RESTING: "the timer is set to its old time, the letter stands",
    Killed.OPENING: "the next one opens it from the same journal",
    Killed.ENDING: "what was journaled counts; the rest is as after any kill",
}


class Load(StrEnum):
    """What is asked of the worker; the second half after the sentence is known to it."""

    REQUEST = "a request"
    WAIT = "a request whose consult says U twice, and waits"
    ASTRAY = "a request in the wrong partition"
    PARKING = "a request that is parked"
    REPLAY = "a parked saga, and a replay"
    DISCARD = "a parked saga, and a discard"
    STALE = "a parked saga, and a replay of what it was before"
    EVIDENCE = "a parked saga, and a notice that its token is dead"
    NOTICE = "a notice, and a request for its token after the kill"
    BROADCAST = "a notice without a binding, and a request for its token after the kill"
    PARKED = "a parked saga, and a replay after the kill"
    CANCELLING = (
        "a saga whose cancelToken took effect and was not answered when its worker died; the next dies too"
    )
    FIRST = "a request, before any worker has started"
    ENDING = "a saga whose consult is in flight at SIGTERM"
    MOVING = "a parked saga while a second worker comes, and a replay after the kill"


_ASKED: Final = ("consult", "cancel_token")
_TWICE: Final = ("consult", "consult", "cancel_token")
_CANCELLED_TWICE: Final = ("consult", "cancel_token", "cancel_token")
_WAITED: Final = ("consult", "consult", "consult", "cancel_token")
_END: Final = ("requested", "allowed", "revoked", "unbound")
_PARKED: Final = ("requested", "allowed", "parked")
TOLD: Final[dict[Load, tuple[str, ...]]] = {
    Load.REQUEST: _END,
    Load.WAIT: ("requested", "waiting", "allowed", "revoked", "unbound"),
    Load.ASTRAY: _END,
    Load.PARKING: _PARKED,
    Load.REPLAY: (*_PARKED, "resumed", "revoked", "unbound"),
    Load.DISCARD: (*_PARKED, "discarded"),
    Load.STALE: _PARKED,
    Load.EVIDENCE: (*_PARKED, "revoked", "unbound"),
    Load.NOTICE: ("requested", "unbound"),
    Load.BROADCAST: ("requested", "unbound"),
    Load.PARKED: (*_PARKED, "resumed", "revoked", "unbound"),
    Load.CANCELLING: _END,
    Load.FIRST: _END,
    Load.ENDING: _END,
    Load.MOVING: (*_PARKED, "resumed", "revoked", "unbound"),
}
"""The states that anybody sees in the end, whatever was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kill: where, under which load, and the calls that the payment side has got in the end."""

    point: Point
    load: Load
    killed: Killed
    calls: tuple[str, ...]
    nth: int = 1
    """At which passing, counted from the second half of the load."""
    doing: str = ""
    """What the worker was at, where the load does not say it."""
    elsewhere: bool = False
    """The point is that of another partition than the saga's."""

    @property
    def name(self) -> str:
        """A name for the test."""
        words = [self.point, self.load.name.lower(), *([f"{self.nth}"] if self.nth > 1 else [])]
        return "-".join([*words, *(["elsewhere"] if self.elsewhere else [])])

    @property
    def listens(self) -> bool:
        """Whether the moment is heard on the wire only."""
        return isinstance(self.point, WireMoment)


def _rows() -> Iterator[Row]:
    yield from _opening()
    yield from _units()
    yield from _calls()
    yield from _inputs()
    yield from _resting()
    yield from _ending()


def _opening() -> Iterator[Row]:
    for point in (CrashPoint.RESTORED, CrashPoint.POSITION_WRITTEN):
        yield Row(point=point, load=Load.FIRST, killed=Killed.OPENING, calls=_ASKED)
    points: tuple[Point, ...] = (
        WireMoment.FENCE_SENT,
        CrashPoint.FENCED,
        CrashPoint.RESTORING,
        CrashPoint.RESTORED,
        CrashPoint.OPENED,
        CrashPoint.LEASE_CONFIRMED,
    )
    for each in points:
        yield Row(point=each, load=Load.CANCELLING, killed=Killed.OPENING, calls=_CANCELLED_TWICE)
    yield Row(point=CrashPoint.KEPT, load=Load.MOVING, killed=Killed.OPENING, calls=_CANCELLED_TWICE)


def _units() -> Iterator[Row]:
    admission: dict[Point, Killed] = {
        CrashPoint.TAKEN: Killed.BEFORE_ADMISSION,
        CrashPoint.DECIDED: Killed.BEFORE_ADMISSION,
        CrashPoint.BEGUN: Killed.IN_TRANSACTION,
        WireMoment.BATCH_SENT: Killed.IN_TRANSACTION,
        CrashPoint.ACKNOWLEDGED: Killed.IN_TRANSACTION,
        WireMoment.END_SENT: Killed.AFTER_COMMIT,
        WireMoment.END_ANSWERED: Killed.AFTER_COMMIT,
        CrashPoint.COMMITTED: Killed.AFTER_COMMIT,
        CrashPoint.KNOWN: Killed.BEFORE_CALL,
    }
    for point, killed in admission.items():
        yield Row(point=point, load=Load.REQUEST, killed=killed, calls=_ASKED, doing="admission")
    results: tuple[tuple[Point, Killed, int, tuple[str, ...]], ...] = (
        (CrashPoint.ACKNOWLEDGED, Killed.IN_TRANSACTION, 2, _TWICE),
        (WireMoment.END_ANSWERED, Killed.AFTER_COMMIT, 2, _ASKED),
        (CrashPoint.TAKEN, Killed.BEFORE_RESULT, 3, _CANCELLED_TWICE),
        (CrashPoint.ACKNOWLEDGED, Killed.IN_TRANSACTION, 3, _CANCELLED_TWICE),
        (CrashPoint.KNOWN, Killed.AFTER_COMMIT, 3, _ASKED),
    )
    for point, killed, nth, calls in results:
        doing = {2: "consult's yes", 3: "cancelToken's S"}[nth]
        yield Row(point=point, load=Load.REQUEST, killed=killed, calls=calls, nth=nth, doing=doing)


def _calls() -> Iterator[Row]:
    points: tuple[tuple[Point, Killed, int, tuple[str, ...]], ...] = (
        (WireMoment.CALL_SENT, Killed.BEFORE_RESULT, 1, _TWICE),
        (CrashPoint.RESULT, Killed.BEFORE_RESULT, 1, _TWICE),
        (CrashPoint.IN_LINE, Killed.BEFORE_CALL, 2, _ASKED),
        (CrashPoint.GATE_PASSED, Killed.BEFORE_RESULT, 2, _ASKED),
        (WireMoment.CALL_SENT, Killed.BEFORE_RESULT, 2, _CANCELLED_TWICE),
        (CrashPoint.ANSWERED, Killed.BEFORE_RESULT, 2, _CANCELLED_TWICE),
        (CrashPoint.RESULT, Killed.BEFORE_RESULT, 2, _CANCELLED_TWICE),
    )
    for point, killed, nth, calls in points:
        doing = {1: "consult", 2: "cancelToken"}[nth]
        yield Row(point=point, load=Load.REQUEST, killed=killed, calls=calls, nth=nth, doing=doing)


def _inputs() -> Iterator[Row]:
    acknowledged = {
        Load.ASTRAY: _ASKED,
        Load.REPLAY: _CANCELLED_TWICE,
        Load.DISCARD: _ASKED,
        Load.STALE: _ASKED,
        Load.EVIDENCE: _ASKED,
        Load.NOTICE: (),
        Load.BROADCAST: (),
    }
    for load, calls in acknowledged.items():
        yield Row(point=CrashPoint.ACKNOWLEDGED, load=load, killed=Killed.IN_TRANSACTION, calls=calls)
    committed = {
        Load.ASTRAY: _ASKED,
        Load.REPLAY: _CANCELLED_TWICE,
        Load.DISCARD: _ASKED,
        Load.EVIDENCE: _ASKED,
    }
    for load, calls in committed.items():
        yield Row(point=CrashPoint.COMMITTED, load=load, killed=Killed.AFTER_COMMIT, calls=calls)
    parking = (
        (CrashPoint.ACKNOWLEDGED, Killed.IN_TRANSACTION, _CANCELLED_TWICE),
        (CrashPoint.COMMITTED, Killed.AFTER_COMMIT, _ASKED),
    )
    for point, killed, calls in parking:
        yield Row(point=point, load=Load.PARKING, killed=killed, calls=calls, nth=3, doing="cancelToken's F")


def _resting() -> Iterator[Row]:
    points: tuple[tuple[Point, Killed, int, str], ...] = (
        (CrashPoint.KNOWN, Killed.RESTING, 2, "waiting"),
        (CrashPoint.ACKNOWLEDGED, Killed.IN_TRANSACTION, 3, "a timer that fell due"),
        (CrashPoint.KNOWN, Killed.BEFORE_CALL, 3, "a timer that fell due"),
    )
    for point, killed, nth, doing in points:
        yield Row(point=point, load=Load.WAIT, killed=killed, calls=_WAITED, nth=nth, doing=doing)
    yield Row(point=WireMoment.LEASE_SENT, load=Load.PARKED, killed=Killed.RESTING, calls=_CANCELLED_TWICE)


def _ending() -> Iterator[Row]:
    points = (
        (CrashPoint.DRAIN_BEGUN, _TWICE, False),
        (CrashPoint.CALLS_ENDED, _TWICE, False),
        (CrashPoint.WOUND_UP, _TWICE, True),
        (CrashPoint.WOUND_UP, _ASKED, False),
        (CrashPoint.DRAINED, _ASKED, False),
        (CrashPoint.LEFT, _ASKED, False),
    )
    for point, calls, elsewhere in points:
        yield Row(point=point, load=Load.ENDING, killed=Killed.ENDING, calls=calls, elsewhere=elsewhere)


MATRIX: Final = tuple(sorted(_rows(), key=lambda row: row.listens))
"""Those heard on the wire come last: their workers run on another event loop."""
ON_CALL: Final = frozenset({WireMoment.RECORD_ANSWERED})
"""Moments that only the other programs pass: see `tests/crash/test_oncall_killed.py`."""
