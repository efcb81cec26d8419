"""What the saga asks of a counterpart (a call) and what it hears back (a result)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.states import Evidence, Outcome, Step


class ResultClass(StrEnum):
    """What a result means for the saga; the hub's tables map each documented code to one of these."""

    DONE = "done"
    """The step reached its goal by an own, verified ``S``."""
    DONE_ALREADY = "done_already"
    """The goal was reached before: the result carries the evidence."""
    REFUSED = "refused"
    """A verified answer says that the binding may not be ended: a business end, no failure."""
    SOON = "soon"
    """Nothing is known: try again, with growing gaps."""
    SLOWLY = "slowly"
    """The counterpart asks for fewer calls: a long gap; uses up no attempt."""
    CONFIRM_FIRST = "confirm_first"
    """A cancel may have had its effect: ask the query before it is repeated."""
    STILL_LIVE = "still_live"
    """The query says that the agreement lives: repeat the cancel at once."""
    LINE_STOP = "line_stop"
    """Our keys, signature or client are refused: each call of this client would fail."""
    FINAL = "final"
    """Repetition cannot help: a person must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The ways to bind again that Authorization Consult handed out (older edition: ``auth_url``)."""

    auth_url: str | None = field(default=None, repr=False)
    normal_url: str | None = field(default=None, repr=False)
    scheme_url: str | None = field(default=None, repr=False)
    applink_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One order to perform a step; the hub makes one attempt, and up to ``quick`` more in process."""

    saga_id: str
    step: Step
    attempt: int
    """Number of the call's first attempt, counted from 1 at this step."""
    quick: int = 0
    """How many quick tries may follow the first attempt in process."""
    query: bool = False
    """Settle the doubt first: ask queryByAuthInfo instead of cancelling."""
    undecided: bool = False
    """An own earlier attempt may have had its effect (so a dead token is success, not a surprise)."""
    acquirer_id: str | None = None
    psp_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A call's answer as read: class, outcome and code, and the facts that later steps need."""

    result_class: ResultClass
    outcome: Outcome
    code: str | None = None
    """Result code of the counterpart, or of ours (``NO_ANSWER`` …): cleaned, at most 64 characters."""
    message: str | None = None
    """Cleaned: no control characters, no token, at most 256 characters."""
    tries: int = 1
    """HTTP attempts made, quick tries included."""
    undecided: bool = False
    """Bytes may have left in one of the tries and no verified final answer came."""
    verified: bool = False
    """The last answer's signature was verified: the line to this client works."""
    retry_after_ms: int | None = None
    """With ``slowly``: what Retry-After asked for, at most one hour."""
    evidence: Evidence | None = None
    """With ``done_already``."""
    acquirer_id: str | None = None
    psp_id: str | None = None
    refuse_reason: str | None = None
    links: Links | None = None
