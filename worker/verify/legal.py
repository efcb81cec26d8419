"""Which binding state may follow which: read from the contract, not from the worker's table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.verify.history import StateSeen

ENDS = frozenset({"refused", "lapsed", "unbound", "offered", "discarded"})
FIRST = frozenset({"requested", "parked"})
REVOKING = frozenset({"cancel_token", "cancel_agreement"})

_PERMISSION = frozenset({"allowed", "refused", "lapsed"})
_ON = frozenset({"waiting", "held", "parked", "joined"})
_ANY = _ON | _PERMISSION | {"revoked", "unbound", "offered"}

_AFTER = {
    "requested": _ANY,
    "joined": _ANY,
    "allowed": _ON | _PERMISSION | {"revoked"},
    "revoked": _ON | {"revoked", "unbound"},
    "waiting": _ANY,
    "held": _ANY,
    "parked": frozenset({"resumed", "discarded", "revoked", "unbound"}),
    "resumed": _ANY,
}


def follows(event: StateSeen, *, standing: str, before: StateSeen) -> bool:
    """Say whether the event may follow; `standing` is the last state before it that is no join."""
    if standing in ENDS:
        return False
    if event.state in {"refused", "lapsed"} and REVOKING & set(event.done) and event.evidence is None:
        # Nothing was revoked by then, except what a notice told.
        return before.evidence is not None or "consult" not in before.done
    if standing == "revoked" and event.state in _PERMISSION:
        # A notice ended one target before the other was consulted, or while its permission grew old.
        return "cancel_token" not in before.done
    return event.state in _AFTER[standing]
