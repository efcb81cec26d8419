"""The rules as tables: what a result means at a step, what may follow a state, what may happen in a phase.

IllegalMove    it cannot happen in the saga's phase, or no table gives this result at its step
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from contracts.states import State, Step
from worker.saga.model import Phase
from worker.saga.results import ResultClass

if TYPE_CHECKING:
    from collections.abc import Mapping


class IllegalMove(Exception):
    """It cannot happen to the saga as it is; nothing was changed."""


class Move(StrEnum):
    """What the saga does with a result."""

    ALLOW = "allow"
    """Permission: keep its ids and its age, go to the first revoke call."""
    REFUSE = "refuse"
    """End as refused; nothing was revoked."""
    ADVANCE = "advance"
    """The step is done: publish what is dead now, go to the next step or end."""
    OFFER = "offer"
    """Hand out the links and end."""
    WAIT = "wait"
    """A durable wait of the step's ladder, or give up."""
    WAIT_SLOWLY = "wait_slowly"
    """A long wait that uses up no attempt."""
    REPEAT = "repeat"
    """The agreement lives: the cancel is repeated."""
    STOP = "stop"
    """The first saga parks and the line stops; others wait without using patience."""
    PARK = "park"
    """A person must look."""
    ILLEGAL = "illegal"
    """No table of the hub gives this class at this step: a fault of ours."""


_M = Move
_COMMON: dict[ResultClass, Move] = {
    ResultClass.SOON: _M.WAIT,
    ResultClass.SLOWLY: _M.WAIT_SLOWLY,
    ResultClass.LINE_STOP: _M.STOP,
    ResultClass.FINAL: _M.PARK,
    ResultClass.REFUSED: _M.ILLEGAL,
    ResultClass.CONFIRM_FIRST: _M.ILLEGAL,
    ResultClass.STILL_LIVE: _M.ILLEGAL,
}

MOVES: Mapping[tuple[Step, ResultClass], Move] = MappingProxyType(
    {
        (step, result): move
        for step, row in {
            Step.CONSULT: _COMMON
            | {
                ResultClass.DONE: _M.ALLOW,
                ResultClass.DONE_ALREADY: _M.ILLEGAL,
                ResultClass.REFUSED: _M.REFUSE,
            },
            Step.CANCEL_TOKEN: _COMMON | {ResultClass.DONE: _M.ADVANCE, ResultClass.DONE_ALREADY: _M.ADVANCE},
            Step.CANCEL_AGREEMENT: _COMMON
            | {
                ResultClass.DONE: _M.ADVANCE,
                ResultClass.DONE_ALREADY: _M.ADVANCE,
                ResultClass.CONFIRM_FIRST: _M.WAIT,
                ResultClass.STILL_LIVE: _M.REPEAT,
            },
            Step.NOTIFY_MERCHANT: _COMMON
            | {ResultClass.DONE: _M.ADVANCE, ResultClass.DONE_ALREADY: _M.ADVANCE},
            Step.NOTIFY_HUB: _COMMON | {ResultClass.DONE: _M.ADVANCE, ResultClass.DONE_ALREADY: _M.ADVANCE},
            Step.OFFER: _COMMON | {ResultClass.DONE: _M.OFFER, ResultClass.DONE_ALREADY: _M.ILLEGAL},
        }.items()
        for result, move in row.items()
    }
)
"""Total over (step, result class)."""

_S = State
_ON = frozenset({_S.WAITING, _S.HELD, _S.PARKED, _S.JOINED})

FLOW: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        _S.REQUESTED: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED, _S.UNBOUND, _S.OFFERED},
        _S.JOINED: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED, _S.UNBOUND, _S.OFFERED},
        _S.ALLOWED: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED},
        # Permission after a revocation: a notice ended the agreement before the token was consulted about.
        _S.REVOKED: _ON | {_S.REVOKED, _S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.UNBOUND},
        _S.WAITING: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED, _S.UNBOUND, _S.OFFERED},
        _S.HELD: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED, _S.UNBOUND, _S.OFFERED},
        _S.PARKED: frozenset({_S.RESUMED, _S.DISCARDED, _S.REVOKED, _S.UNBOUND}),
        _S.RESUMED: _ON | {_S.ALLOWED, _S.REFUSED, _S.LAPSED, _S.REVOKED, _S.UNBOUND, _S.OFFERED},
        _S.REFUSED: frozenset(),
        _S.LAPSED: frozenset(),
        _S.UNBOUND: frozenset(),
        _S.OFFERED: frozenset(),
        _S.DISCARDED: frozenset(),
    }
)
"""Which published state may follow which. The docs' diagram is drawn from it."""

FIRST = frozenset({_S.REQUESTED, _S.PARKED})
"""The states a saga's first event may have: ``parked`` for a request that was never admitted."""

FINAL = frozenset(state for state, after in FLOW.items() if not after)
"""States that end a saga."""


class Happening(StrEnum):
    """What can happen to a saga."""

    TURN = "turn"
    BEGIN = "begin"
    HOLD_FOUND = "hold_found"
    LINE_FOUND = "line_found"
    ANSWERED = "answered"
    NOT_BEGUN = "not_begun"
    FELL_DUE = "fell_due"
    HOLD_ENDED = "hold_ended"
    LINE_TRIED = "line_tried"
    RESTORED = "restored"
    JOINED = "joined"
    DIED = "died"
    BROKE = "broke"
    RESUMED = "resumed"
    DISCARDED = "discarded"


_H = Happening
_LIVE = frozenset({_H.RESTORED, _H.JOINED, _H.DIED, _H.BROKE})

LEGAL: Mapping[Phase, frozenset[Happening]] = MappingProxyType(
    {
        Phase.QUEUED: _LIVE | {_H.TURN},
        Phase.DUE: _LIVE | {_H.BEGIN, _H.HOLD_FOUND, _H.LINE_FOUND},
        Phase.CALLING: _LIVE | {_H.ANSWERED, _H.NOT_BEGUN},
        Phase.WAITING: _LIVE | {_H.FELL_DUE},
        Phase.HELD: _LIVE | {_H.FELL_DUE, _H.HOLD_ENDED},
        Phase.STOPPED: _LIVE | {_H.FELL_DUE, _H.LINE_TRIED},
        Phase.PARKED: frozenset({_H.RESTORED, _H.DIED, _H.RESUMED, _H.DISCARDED}),
        Phase.ENDED: frozenset({_H.RESTORED}),
    }
)
"""What may happen in a phase; anything else raises and changes nothing."""
