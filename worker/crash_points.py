"""Where a worker may die between two effects: a closed list, and how the code passes these points.

Shard, log, hub and pump are handed a function by the composition root and call it with a point's name as
they pass it. In a worker that runs as shipped the function does nothing, and no setting changes that; the
tests' own main (`tests.crash.doomed_worker`) hands in one that kills the process. Everything that lies in one
transaction (journal, events, letters, verdicts, forwards) has the same points: they are the transaction's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias


class CrashPoint(StrEnum):
    """A moment between two durable or external effects; each member says which."""

    # --- a shard opens ---
    FENCED = "fenced"
    """Earlier producers are fenced and their transaction is aborted; nothing of the journal is read."""
    RESTORING = "restoring"
    """A piece of the journal is read, the rest is not."""
    RESTORED = "restored"
    """The memory is whole; a first position is not written yet."""
    POSITION_WRITTEN = "position_written"
    """The position of a first start, or with new keys, is in the journal; the shard is not open."""
    KEPT = "kept"
    """The unchanged producer has committed, so the memory is still right; the shard is not open."""
    OPENED = "opened"
    """The shard is open and the feed is sought; no record has come."""

    # --- a unit of work ---
    TAKEN = "taken"
    """Records, results or timers are there; nothing is decided."""
    DECIDED = "decided"
    """Everything is decided; no transaction has begun."""
    BEGUN = "begun"
    """The transaction has begun and its batches are with the producer; none is acknowledged."""
    ACKNOWLEDGED = "acknowledged"
    """Every batch is acknowledged; the transaction's end is not ordered."""
    COMMITTED = "committed"
    """The broker has confirmed the transaction's end; the shard does not know."""
    KNOWN = "known"
    """The shard knows that its unit is committed; the calls that it decided have not started."""

    # --- a call ---
    IN_LINE = "in_line"
    """The call has started; neither lease nor gate was looked at."""
    GATE_PASSED = "gate_passed"
    """The gate is passed; no byte has left."""
    ANSWERED = "answered"
    """The whole answer is there; it is neither verified nor read."""
    RESULT = "result"
    """The result is known; no unit has taken it up."""

    # --- the lease ---
    LEASE_CONFIRMED = "lease_confirmed"
    """The group has taken the positions; the leases do not live yet."""

    # --- the end ---
    DRAIN_BEGUN = "drain_begun"
    """The shard begins no call any more; those in flight go on."""
    CALLS_ENDED = "calls_ended"
    """The calls in flight have ended or were left; their results are not journaled."""
    WOUND_UP = "wound_up"
    """A shard's last transaction is committed; other shards may still drain."""
    DRAINED = "drained"
    """All shards have drained; the group does not have the last positions."""
    LEFT = "left"
    """The group is left; the producers are not closed."""


Passing: TypeAlias = Callable[[CrashPoint], None]
"""What the code calls when it passes a point."""
PassingIn: TypeAlias = Callable[[int | None], Passing]
"""Gives what hears of one partition's points; ``None``: of those that the whole worker passes."""


def pass_by(_point: CrashPoint) -> None:
    """Do nothing: what every worker is handed that is not under test."""


def pass_all_by(_partition: int | None) -> Passing:
    """Do nothing in any partition."""
    return pass_by
