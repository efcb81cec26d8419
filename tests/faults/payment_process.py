"""The payment side's process as a stage has it: killed, paused and started again at the same address."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.faults.child import Child
from tests.faults.payment_side import LedgerCall, read_ledger
from worker.sandbox.local_kafka import free_ports

if TYPE_CHECKING:
    from pathlib import Path


class PaymentSide:
    """One payment side; its ledger survives whatever ends the process."""

    def __init__(self, directory: Path) -> None:
        self.url = ""
        """Its address; it listens there from the first `listens` on."""
        self._directory = directory
        # Below the range of outgoing connections: nobody else is given it while the process is away.
        self._port = free_ports(nodes=1)[0].clients
        self._starts = 0
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process that was started last."""
        if self._child is None:
            raise ValueError("the payment side was never started")
        return self._child

    def start(self) -> None:
        """Start it, the first time or anew."""
        self._starts += 1
        self._child = Child(
            "tests.faults.payment_side",
            [str(self._directory / "payment"), str(self._port)],
            output=self._directory / f"payment-{self._starts}.log",
            errors=self._directory / f"payment-{self._starts}.err",
        )

    def listens(self) -> bool:
        """Tell whether it serves. Raises AssertionError if it has ended."""
        if not self.child.running:
            raise AssertionError(f"the payment side has ended:\n{self.child.told()}")
        said = self.child.output.read_bytes()
        if said.endswith(b"\n"):
            self.url = said.decode().strip()
        return bool(self.url) and said.endswith(b"\n")

    def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.child.signal(signal.SIGCONT)

    async def ledger(self, *, after: int = 0) -> list[LedgerCall]:
        """Return the verified calls that it has got, those with a higher number."""
        return await read_ledger(self.url, after=after)
