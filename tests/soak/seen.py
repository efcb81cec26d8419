"""What a window sees of a stage, so that a test can show it one that nobody has played on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from contracts.topics import LogicalTopic
    from tests.faults.diary import Line
    from tests.faults.payment_side import LedgerCall
    from tests.faults.stage import Freeze
    from tests.simulation.cluster import Stored


class Kept(Protocol):
    """The records of a stage (`tests.faults.archive.Archive`)."""

    async def catch_up(self) -> None:
        """Read on to the end as of now."""
        ...

    def kept(self) -> Iterable[tuple[LogicalTopic, Stored]]:
        """Give all records that are kept."""
        ...

    def forget(self, past: Callable[[LogicalTopic, Stored], bool]) -> None:
        """Let go of the records that are past."""
        ...


class Seen(Protocol):
    """What a window sees of a stage (`tests.faults.stage.Stage`)."""

    @property
    def archive(self) -> Kept:
        """Its records."""
        ...

    @property
    def freezes(self) -> Sequence[Freeze]:
        """What was done with SIGSTOP."""
        ...

    @property
    def ends(self) -> Mapping[str, int]:
        """When each process ended, as far as it has: ms since the Unix epoch."""
        ...

    @property
    def shaken(self) -> Sequence[tuple[int, int]]:
        """From when to when the broker was hurt: ms since the Unix epoch."""
        ...

    @property
    def call_ms(self) -> int:
        """How long a call may take as a whole."""
        ...

    def lines(self) -> Sequence[Line]:
        """Give the log lines that are kept."""
        ...

    async def ledger(self, *, after: int = 0) -> Sequence[LedgerCall]:
        """Give the calls with a higher number."""
        ...
