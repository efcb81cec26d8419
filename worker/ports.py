"""What a shard asks of the world: a log, a hub, a lease, holds, a clock, chance.

The shard gets these as arguments and imports none of their makers; the simulation gives others.

    LogError
    ├── Fenced            another owner has the partition: let go
    ├── LogInterrupted    the fate of a transaction or a read is not known, or it failed: restore
    ├── WriteRefused      the same write would be refused again (size, permission, missing topic)
    └── RestoreStalled    the journal could not be read to its high watermark in time
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from contracts.requests import RebindingRequested, UnbindingRequested
    from contracts.states import Step
    from contracts.topics import LogicalTopic
    from worker.saga.results import Call, Result


class LogError(Exception):
    """Something about the log went wrong; the text says what and where."""


class Fenced(LogError):
    """Another owner has fenced this shard's producer: the partition is no longer ours."""


class LogInterrupted(LogError):
    """A transaction or a read failed in a way that may pass: drop the memory, restore, go on."""


class WriteRefused(LogError):
    """The broker refuses this write each time (too large, not permitted, topic missing).

    ``of_input``: because of what a record is, so that others are taken; else the topic may refuse them all.
    """

    def __init__(self, text: str, *, of_input: bool = False) -> None:
        super().__init__(text)
        self.of_input = of_input


class RestoreStalled(LogError):
    """The journal's high watermark was not reached in time: the shard stays closed and says why."""


class NotBegun(Exception):
    """Raised by a gate: no byte of this attempt has left, and none may leave now."""


class Input(StrEnum):
    """The three topics that a shard takes records from."""

    REQUESTS = "requests"
    COMMANDS = "commands"
    NOTICES = "notices"


Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as Kafka gave it, with its origin.

    A header key that is not UTF-8 comes in with replacement characters.
    """

    input: Input
    topic: str
    partition: int
    offset: int
    timestamp_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class JournalRecord(NamedTuple):
    """One record of the journal; ``value`` is ``None`` for a tombstone.

    A tuple, because a restore makes a million of them.
    """

    key: bytes
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One record of a transaction; ``partition`` is ``None`` for the shard's own."""

    topic: LogicalTopic
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the log says about one shard's inputs: the first offset that exists, the next one, the commit."""

    starts: dict[Input, int]
    ends: dict[Input, int]
    group_committed: int | None
    """The group's committed offset of the requests partition, ``None`` without one."""


class Log(Protocol):
    """One shard's view of the log. Only the shard's own loop calls it, one call at a time."""

    @property
    def partition(self) -> int:
        """The partition number that this shard owns in every co-partitioned topic."""
        ...

    async def fence(self) -> None:
        """Start a fresh transactional producer under the partition's own id.

        Fences every earlier one and aborts its open transaction. May be called again after an error.
        Raises LogInterrupted or WriteRefused (no permission on the transactional id).
        """
        ...

    def journal(self) -> AsyncIterator[Sequence[JournalRecord]]:
        """Read the journal partition, committed records only, from its start to its high watermark of *now*.

        Raises RestoreStalled if that mark is not reached within the log's limit of time, else LogInterrupted.
        """
        ...

    async def bounds(self) -> Bounds:
        """Ask for the inputs' bounds and the group's commit. Raises LogInterrupted."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all of it in one transaction, or nothing.

        Raises Fenced, LogInterrupted or WriteRefused (nothing was written); then ``fence`` comes first.
        """
        ...

    def fits(self, write: Write) -> bool:
        """Tell whether the broker would take a record of this size."""
        ...

    async def fetch(self, *, topic: str, partition: int, offset: int) -> Record | None:
        """Read one record again at its origin; ``None`` if it is gone. Raises LogInterrupted."""
        ...

    async def close(self) -> None:
        """Let the producer go. An open transaction is aborted by the broker in time."""
        ...


class Feed(Protocol):
    """How a shard steers the records that are fed to it."""

    def seek(self, positions: dict[Input, int]) -> None:
        """Feed from these offsets on, per input and in order, from now on. Records fed before are void."""
        ...

    def pause(self) -> None:
        """Feed no requests for now (commands and notices keep coming)."""
        ...

    def resume(self) -> None:
        """Feed requests again."""
        ...


class Hub(Protocol):
    """Performs calls at the counterparts."""

    def line(self, step: Step) -> str:
        """Name the line of this step: the counterpart's client, whose keys all calls on it share."""
        ...

    async def perform(
        self, call: Call, request: UnbindingRequested | RebindingRequested, gate: Callable[[], None]
    ) -> Result:
        """Make the call's first attempt and its quick tries, and read the answer.

        Raises NotBegun if the gate refused the *first* attempt; a later refusal ends the tries:
        the result so far counts.
        Cancelled before the gate was passed, nothing has left; cancelled later, the call is undecided.
        """
        ...


class Lease(Protocol):
    """The proof, seconds old, that this worker still owns the partition."""

    def live(self) -> bool:
        """Tell whether a call may begin now."""
        ...

    async def wait(self) -> None:
        """Return when it is live (again)."""
        ...


class Holds(Protocol):
    """The standing holds, as far as they have been read."""

    def known(self) -> bool:
        """Tell whether the topic has been read whole; until then no call may begin."""
        ...

    def held_until(
        self, *, step: Step, auth_client_id: str | None, merchants: Sequence[str], now_at: int
    ) -> int | None:
        """When the hold that covers such a call ends (ms since the epoch), or ``None`` without one."""
        ...


class Observer(Protocol):
    """Hears what happens in a shard. Names are of the closed lists of the telemetry room."""

    def log(self, event: str, **fields: object) -> None:
        """Write a log line."""
        ...

    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, metric: str, value: float, **labels: str) -> None:
        """Add a value to a distribution."""
        ...

    def gauge(self, metric: str, value: float, **labels: str) -> None:
        """Set a value."""
        ...
