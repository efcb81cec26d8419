"""What happened, as the topics and the sandbox's ledger tell it: plain facts, read after the worker's end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.commands import VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.origins import Origin
from contracts.states import BindingRebindOffered, BindingStateChanged, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """One event of the states topic and where it lies."""

    partition: int
    offset: int
    event_id: str
    event: BindingStateChanged | BindingRebindOffered


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSeen:
    """One call as the sandbox's ledger has it. Moments are ms since the Unix epoch."""

    step: Step
    received_at: int
    ended_at: int | None
    """`None`: it never ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSeen:
    """What the ledger says of one token."""

    calls: tuple[CallSeen, ...] = ()
    revoked: bool = False
    asked_after_revoke: int = 0
    """consultUnbinding calls that came when the token was dead already."""
    overlapping: int = 0
    """Calls that came while another one of this token was in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarded:
    """A request that a worker has forwarded."""

    event_id: str
    partition: int
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """The worker's violent end. Moments are ms since the Unix epoch."""

    killed_at: int
    back_at: int
    """The first sign of life of its successor: a call, or a committed event."""
    in_flight: int
    """Calls that it cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it."""

    states: tuple[StateSeen, ...]
    letters: Mapping[str, LetterHeaders]
    """The open dead letters, by key."""
    verdicts: tuple[VerdictRecorded, ...]
    forwarded: tuple[Forwarded, ...]
    tokens: Mapping[str, TokenSeen]
    """By the name of the case."""
    kill: Kill | None
    strangers: tuple[str, ...] = ()
    """Records that break the contract, with the reason: the worker must write none."""
    leaks: tuple[str, ...] = field(default=())
    """Where a token can be read."""
    exit_code: int | None = 0
    """Of the worker, after SIGTERM."""
