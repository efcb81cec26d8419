"""What happened, as plain data: records in, events, letters and verdicts out, and the ledger of attempts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One attempt in the ledger of the payment side.

    Moments are numbers that grow; `…_at` are ms since the epoch.
    """

    number: int
    process: str
    owner: str | None
    """The process that owned the partition when the attempt began; `None`: nobody, or not known."""
    saga_id: str
    binding_id: str
    step: str
    attempt: int
    quick: bool
    query: bool
    target: str
    begun: int
    begun_at: int
    arrived: int | None = None
    was_dead: bool = False
    """The target was dead when the attempt arrived."""
    ended: int | None = None
    result_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSeen:
    """One record of the requests topic."""

    origin: str
    """`topic/partition/offset`."""
    moment: int
    partition_is_right: bool = True
    request_id: str | None = None
    """`None` where it could not be read."""
    source: str | None = None
    binding_id: str | None = None
    targets: frozenset[str] = frozenset()
    consulted: bool = False
    requested_at: int = 0
    expires_at: int | None = None
    forwarded_from: str | None = None
    """The origin that a true forward names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """One event of the states topic, as a read_committed reader sees it."""

    partition: int
    offset: int
    moment: int
    transaction: int | None = None
    event_id: str
    saga_id: str
    binding_id: str
    request_ids: tuple[str, ...]
    sequence: int
    state: str
    done: tuple[str, ...] = ()
    step: str | None = None
    next_attempt_at: int | None = None
    reason: str | None = None
    evidence: str | None = None
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSeen:
    """One record of the dead-letter topic; `stands` is false for a tombstone."""

    partition: int
    offset: int
    moment: int
    transaction: int | None = None
    key: str
    stands: bool
    saga_id: str | None = None
    origin: str | None = None
    """The origin of the parked record, as the letter's headers give it."""
    sequence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSeen:
    """One record of the commands topic."""

    origin: str
    command_id: str | None
    """`None` where it could not be read."""
    replay: bool = True
    letter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSeen:
    """One record of the verdicts topic."""

    offset: int
    moment: int
    transaction: int | None = None
    command: str
    """The command's id, or its origin where it could not be read."""
    applied: bool
    replay: bool = True
    letter: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The bytes of one record that the worker wrote: key, value and headers in one piece."""

    origin: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it. Each sequence is in the order of its topic; partitions may be mixed."""

    requests: tuple[RequestSeen, ...] = ()
    states: tuple[StateSeen, ...] = ()
    letters: tuple[LetterSeen, ...] = ()
    commands: tuple[CommandSeen, ...] = ()
    verdicts: tuple[VerdictSeen, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    written: tuple[Written, ...] = ()
    secrets: frozenset[bytes] = field(default=frozenset(), repr=False)
    at_rest: bool = True
    """Nothing is under way any more: each request must have its end."""
