"""What the demo's cases are made of: what is published when, and what has to become of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from typing_extensions import override

from contracts.commands import CommandKind, Ruling
from contracts.states import Debits, Reason, State, Step
from contracts.topics import partition_of
from worker.oncall.cluster import Message

PARTITIONS: Final = 3


class Act(StrEnum):
    """When a record is published."""

    OPENING = "opening"
    """At once."""
    BEFORE_KILL = "before_kill"
    """When all of the opening has come far enough; the worker is killed with these calls in flight."""
    CLOSING = "closing"
    """When all else has ended."""


@dataclass(frozen=True, slots=True)
class Range:
    """How often something has to happen."""

    least: int
    most: int

    @override
    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"

    def __contains__(self, number: int) -> bool:
        return self.least <= number <= self.most


ONCE: Final = Range(1, 1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One state, and how often in a row it has to be published."""

    state: State
    times: Range = ONCE

    @override
    def __str__(self) -> str:
        return self.state if self.times == ONCE else f"{self.state} ({self.times} times)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What has to become of a case."""

    course: tuple[Stretch, ...]
    """States in their order, `joined` left out; empty where there is no saga."""
    joins: int = 0
    """How often `joined` has to be published, anywhere before the end."""
    calls: Mapping[Step, Range] = field(default_factory=dict)
    """Calls that the sandbox has to see; none of any other step."""
    revoked: bool = False
    """Whether the token has to be dead at the end."""
    debits: Debits | None = None
    """As the last event says; `None`: it says nothing."""
    parked_for: Reason | None = None
    """Why it has to be parked on the way; `None`: never."""
    letter_open: bool = False
    """Whether its letter has to stand at the end."""
    ruling: Ruling | None = None
    """How the command that a person gives for it has to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One record of the demo: when, and what."""

    act: Act
    event_id: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that the demo shows: one saga, or one record that never becomes a saga."""

    name: str
    shows: str
    binding_id: str | None
    """`None` for a record that cannot be read."""
    token: str = field(repr=False)
    published: tuple[Published, ...]
    expected: Expected
    before_kill: State | None = None
    """The kill waits until this state was published."""
    in_flight: Step | None = None
    """The kill falls while this call is in flight."""
    after: str | None = None
    """The name of the case that has to end before this one makes its first call."""
    order: CommandKind | None = None
    """What a person orders once it is parked."""
    mended: bool = False
    """Whether the sandbox stops failing this token before the order."""
    forwarded: bool = False
    """Whether its record has to be forwarded to the binding's partition."""

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The ids of its requests, each once, in order."""
        return tuple(dict.fromkeys(record.event_id for record in self.published))

    @property
    def partition(self) -> int:
        """The partition whose shard has to serve it."""
        if self.binding_id is not None:
            return partition_of(self.binding_id, PARTITIONS)
        return self.published[0].message.partition or 0
