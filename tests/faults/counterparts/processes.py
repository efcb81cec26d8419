"""The processes of a scene: workers that can be watched, and a payment side that takes any clock's calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from tests.faults.child import Child
from tests.faults.payment_process import PaymentSide
from tests.faults.stage import Process

if TYPE_CHECKING:
    from tests.faults.counterparts.worker_clock import WorkerClock
    from tests.faults.stage import Notes

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Watched(Child):
    """A process whose memory and CPU can be read."""

    @property
    def resident_bytes(self) -> int:
        """The memory that it holds."""
        with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
            return int(file.read().split()[1]) * _PAGE

    @property
    def cpu_s(self) -> float:
        """The CPU seconds that it has used."""
        with open(f"/proc/{self._process.pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - no path of ours
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


class Staff(Process):
    """A worker's process, and what is peculiar to it here."""

    child: Watched

    def __init__(
        self, name: str, child: Watched, notes: Notes, *, port: int, clock: WorkerClock | None
    ) -> None:
        super().__init__(name, child, notes)
        self.port = port
        """Of its health and metrics."""
        self.clock = clock


class Payment(PaymentSide):
    """A payment side that takes requests of any age; see ``tests.faults.counterparts.payment``."""

    @override
    def start(self) -> None:
        self._starts += 1
        self._child = Child(
            f"{__package__}.payment",
            [str(self._directory / "payment"), str(self._port)],
            output=self._directory / f"counterparts-{self._starts}.log",
            errors=self._directory / f"counterparts-{self._starts}.err",
        )
