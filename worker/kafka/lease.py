"""The lease: proof, seconds old, that this worker is still a member of its group and owns the partition.

Every so often the positions of the open shards are committed to the group, outside transactions. The
coordinator checks member and generation: a commit that it takes proves membership at the time of *sending*.

    LeaseError
    ├── Expelled     the group does not know this member (any more): every lease dies
    └── NotRenewed   refused or unanswered for another reason: leases run out by age
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from worker.crash_points import CrashPoint, pass_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from worker.crash_points import Passing
    from worker.ports import Observer

RENEW_EVERY_MS: Final = 2_000
LEASE_SHARE: Final = 0.4
"""A lease lives this share of the session: the group gives a partition away only after a whole session."""


class LeaseError(Exception):
    """The group did not confirm this worker's membership."""


class Expelled(LeaseError):  # the coordinator's word, not a failure of ours
    """The group does not know this member or its generation."""


class NotRenewed(LeaseError):
    """The commit was refused or not answered; membership is neither proven nor disproven."""


def elapsed_ms() -> int:
    """Return milliseconds on a clock that goes on while the machine is suspended, where there is one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) // 1_000_000


class PartitionLease:
    """One partition's lease (ports.Lease)."""

    def __init__(self, *, clock: Callable[[], int], bound_ms: int) -> None:
        """Take a clock that never goes back, in milliseconds; the lease is not live yet."""
        self._clock = clock
        self._bound_ms = bound_ms
        self._sent_at: int | None = None
        self._renewed = asyncio.Event()

    def live(self) -> bool:
        """Tell whether a call may begin now."""
        return self._sent_at is not None and self._clock() - self._sent_at < self._bound_ms

    async def wait(self) -> None:
        """Return when it is live (again)."""
        while not self.live():
            self._renewed.clear()
            await self._renewed.wait()

    def renew(self, sent_at: int) -> None:
        """Count the age from ``sent_at``, when the confirmed commit was sent."""
        self._sent_at = sent_at
        self._renewed.set()

    def end(self) -> None:
        """Die at once; only ``renew`` brings it back."""
        self._sent_at = None


class LeaseKeeper:
    """Renews the leases of all assigned partitions of a worker, and ends them."""

    def __init__(
        self,
        *,
        commit: Callable[[Mapping[int, int]], Awaitable[None]],
        positions: Callable[[], Mapping[int, int]],
        session_timeout_ms: int,
        observer: Observer,
        clock: Callable[[], int] = elapsed_ms,
        passing: Passing = pass_by,
    ) -> None:
        """Take how to commit, and the requests positions of the open shards by partition.

        ``commit`` raises LeaseError. A partition without a position is not committed and its lease not live.
        """
        self._commit = commit
        self._positions = positions
        self._clock = clock
        self._observer = observer
        self._passing = passing
        self._bound_ms = int(session_timeout_ms * LEASE_SHARE)
        self._session_timeout_ms = session_timeout_ms
        self._leases: dict[int, PartitionLease] = {}
        self._held: set[int] = set()
        self._era = 0
        self._kicked = asyncio.Event()
        self._confirmed_at: int | None = None

    def lease(self, partition: int) -> PartitionLease:
        """Return the partition's lease, always the same object."""
        if partition not in self._leases:
            self._leases[partition] = PartitionLease(clock=self._clock, bound_ms=self._bound_ms)
        return self._leases[partition]

    def begin(self, partitions: Iterable[int]) -> None:
        """Keep these partitions' leases from now on; the next confirmed commit makes them live."""
        self._held.update(partitions)

    def end(self, partitions: Iterable[int]) -> None:
        """End these leases at once. A commit that is on its way revives none of them."""
        for partition in partitions:
            self._held.discard(partition)
            self.lease(partition).end()
        self._era += 1

    def kick(self) -> None:
        """Renew now: a shard has opened and waits for its first lease."""
        self._kicked.set()

    def confirmed_lately(self) -> bool:
        """Tell whether the group confirmed us within a session: if so, it had no reason to expel us."""
        return (
            self._confirmed_at is not None and self._clock() - self._confirmed_at < self._session_timeout_ms
        )

    async def run(self) -> None:
        """Renew every two seconds, or when kicked, until cancelled."""
        while True:
            # Cleared first: a kick that comes while the commit is on its way asks for another one.
            self._kicked.clear()
            await self.renew()
            try:
                async with asyncio.timeout(RENEW_EVERY_MS / 1000):
                    await self._kicked.wait()
            except TimeoutError:
                continue

    async def renew(self) -> None:
        """Commit the positions once, and renew what the answer proves."""
        positions = {
            partition: position
            for partition, position in self._positions().items()
            if partition in self._held
        }
        if not positions:
            return  # an empty commit asks nobody, so it proves nothing
        era, sent_at = self._era, self._clock()
        try:
            async with asyncio.timeout(self._bound_ms / 1000):
                await self._commit(positions)
        except Expelled as error:
            self._observer.count("unbinding_lease_losses")
            self._observer.log("lease.lost", partitions=sorted(self._held), cause=str(error))
            self.end(tuple(self._held))
        except (NotRenewed, TimeoutError) as error:
            cause = str(error) or "the commit was not answered in time"
            self._observer.count("unbinding_lease_losses")
            self._observer.log("lease.lost", partitions=sorted(positions), cause=cause)
        else:
            self._passing(CrashPoint.LEASE_CONFIRMED)
            if era == self._era:
                self._confirmed_at = sent_at
                gained = [partition for partition in positions if not self.lease(partition).live()]
                for partition in positions:
                    self.lease(partition).renew(sent_at)
                if gained:
                    self._observer.log("lease.gained", partitions=sorted(gained))
