"""What happened, as plain data: records in, events, letters and verdicts out, and the ledger of attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Topic(StrEnum):
    """The topics that a history is made of."""

    REQUESTS = "requests"
    NOTICES = "notices"
    COMMANDS = "commands"
    STATES = "states"
    JOURNAL = "journal"
    DEAD_LETTERS = "dead_letters"
    VERDICTS = "verdicts"


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
    target: str = field(repr=False)
    """Names a token in clear: never shown."""
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
    targets: frozenset[str] = field(default=frozenset(), repr=False)
    """Name tokens in clear: never shown."""
    consulted: bool = False
    requested_at: int = 0
    expires_at: int | None = None
    forwarded_from: str | None = None
    """The origin that a true forward names."""
    digest: bytes = field(default=b"", repr=False)
    """Of the value: a true forward is the same, byte for byte. Empty: not known."""
    at: int = 0
    """The record's own time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """One event of the states topic, as a read_committed reader sees it."""

    partition: int
    offset: int
    moment: int
    transaction: int | None = None
    event_id: str = ""
    """Empty where it is that of its saga and sequence, as it should be: millions of them cost much."""
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
    attempts: int = 0


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
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSeen:
    """One record of the commands topic."""

    origin: str
    command_id: str | None
    """`None` where it could not be read."""
    replay: bool = True
    letter: str | None = None
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictSeen:
    """One record of the verdicts topic."""

    partition: int = 0
    offset: int
    moment: int
    transaction: int | None = None
    command: str
    """The command's id, or its origin where it could not be read."""
    applied: bool
    replay: bool = True
    letter: str | None = None
    saga_id: str | None = None
    sequence: int | None = None
    """The sequence that the command expected, and where applied found."""
    from_start: bool = False
    """The replay was to begin at the first step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeSeen:
    """One record of the notices topic that could be read."""

    origin: str
    at: int
    """When the target died, as the notice says."""
    binding_id: str | None = None
    targets: frozenset[str] = field(default=frozenset(), repr=False)
    """Named as those of requests; a fingerprint names none. Name tokens in clear: never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaKept:
    """What the journal holds of a saga that no block has taken over yet."""

    offset: int
    saga_id: str
    binding_id: str
    sequence: int
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSeen:
    """What the journal of one partition holds now: the latest record of each key, tombstones left out."""

    partition: int
    position: int | None = None
    """The next offset of the requests topic that its shard takes."""
    commands_position: int | None = None
    sagas: tuple[SagaKept, ...] = ()
    letters: frozenset[str] = frozenset()
    """Keys of letters without a saga."""
    requests: frozenset[str] = frozenset()
    """Sagas and letters whose sealed request is kept."""
    problems: tuple[str, ...] = ()
    """Records that its own version cannot read: their place, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record of a topic that the worker alone writes, which breaks its contract."""

    topic: Topic
    origin: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The bytes of one record that the worker wrote: key, value and headers in one piece."""

    origin: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of the workers' settings; a check without its limit is not made. Durations in ms."""

    remember_ms: int | None = None
    """How long finished requests are remembered; `None`: for ever."""
    remember_requests: int | None = None
    """How many later requests of a partition may push one out before its time; `None`: no number of them."""
    patience_ms: Mapping[str, int] = field(default_factory=dict)
    """By step: how long after its first attempt another may still be planned."""
    clocks_ms: int | None = None
    """How far the workers' clocks may be apart; `None`: not known, their times are not compared."""
    call_ms: int = 0
    """How long after it was begun the ledger may note a call: as long as its caller waits for the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it. Each sequence is in the order of its topic; partitions may be mixed."""

    requests: tuple[RequestSeen, ...] = ()
    states: tuple[StateSeen, ...] = ()
    letters: tuple[LetterSeen, ...] = ()
    commands: tuple[CommandSeen, ...] = ()
    verdicts: tuple[VerdictSeen, ...] = ()
    notices: tuple[NoticeSeen, ...] = ()
    journals: tuple[JournalSeen, ...] = ()
    """One for each partition whose journal was read."""
    attempts: tuple[Attempt, ...] = ()
    written: tuple[Written, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    secrets: frozenset[bytes] = field(default=frozenset(), repr=False)
    at_rest: bool = True
    """Nothing is under way any more: each request must have its end."""
    begun_before: frozenset[Topic] = frozenset()
    """Topics whose beginning was not read: older records are gone, or lie before the window."""
    ended_before: bool = False
    """The reading ended before the present: what came later is not known."""
    partitions: int | None = None
    """How many partitions each topic has, where that is known."""
    ends: Mapping[int, int] = field(default_factory=dict)
    """By partition: where the requests topic ends, where that is known."""
    limits: Limits = field(default_factory=Limits)
