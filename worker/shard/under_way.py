"""A call under way: between the decision to make it and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from worker.saga.results import Call, Result


@dataclass(slots=True, eq=False)
class CallUnderWay:
    """One call of one saga, as the shard follows it."""

    saga_id: str
    call: Call
    line: str
    decided_at: int
    """When it was decided: ms since the Unix epoch."""
    stood_ms: int = 0
    """How long it has stood in line before it began, by a clock that does not jump."""
    begun: bool = False
    """Bytes may have left."""
    void: bool = False
    """Evidence has settled its step: its result no longer counts, and it must not begin."""
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a call: a result, a fault of ours, or nothing because it never began."""

    under_way: CallUnderWay
    result: Result | None = None
    fault: BaseException | None = None
