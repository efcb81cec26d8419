"""The numbers of a shard, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.shard.remember import Remembering


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOptions:
    """The numbers of a shard. Durations in milliseconds."""

    partition: int
    partitions: int
    source: str
    """``ce_source`` of our events."""
    record_bytes: int = 256 * 1024
    live_sagas: int = 50_000
    live_bytes: int = 256 * 1024 * 1024
    inbox: int = 2_000
    """Records of one input taken from the feed and not yet decided, at most about."""
    inbox_bytes: int = 32 * 1024 * 1024
    """Bytes of their values, at most about."""
    batch: int = 500
    """Inputs of each kind in one unit, at most."""
    unit_bytes: int = 4 * 1024 * 1024
    """Bytes after which a unit takes no more: a transaction must end well before its time-out."""
    drain_ms: int = 6_000
    """How long calls in flight may take to end when the shard lets go: longer than one attempt."""
    retry_ms: int = 5_000
    """The gap before the shard tries to open again."""
    accept_loss: bool = False
    given_up_keys: frozenset[str] = frozenset()
    remembering: Remembering = field(default_factory=Remembering)
