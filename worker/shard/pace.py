"""How long a busy worker's shards wait for more before they commit: a transaction has a fixed price."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW_S: Final = 1.0


class Linger:
    """Keeps the commits of all shards of a process near a rate; an idle process does not wait at all.

    A transaction costs 1.5 ms of CPU however little is in it (measured: three requests and their answers), a
    record in it 6 µs. A worker with a backlog fills its transactions anyway, for what comes while one is
    committed goes into the next: there the wait changes the CPU per saga by 0.04 ms. It is for the load in
    between, where each transition would come alone: up to ten busy shards take about 30 % of a core for
    transactions, more of them a little more.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float],
        calm_per_s: float = 50.0,
        busy_per_s: float = 200.0,
        most_s: float = 0.05,
    ) -> None:
        """Below ``calm_per_s`` commits a second nobody waits, above it ``busy_per_s`` is aimed at.

        ``now`` is in seconds. A shard that has work waits no longer than ``most_s`` after its last commit.
        """
        self._now = now
        self._calm = calm_per_s
        self._busy = busy_per_s
        self._most_s = most_s
        self._commits: deque[tuple[float, int]] = deque()
        self._last: dict[int, float] = {}

    def committed(self, partition: int) -> None:
        """Count a commit of a shard."""
        now = self._now()
        self._commits.append((now, partition))
        self._last[partition] = now
        self._forget(now)

    def seconds(self, partition: int) -> float:
        """Return how long this shard is to wait for more."""
        now = self._now()
        self._forget(now)
        if len(self._commits) < self._calm * _WINDOW_S:
            return 0.0
        busy_shards = len({owner for _, owner in self._commits})
        gap = min(self._most_s, busy_shards / self._busy)
        return max(0.0, gap - (now - self._last.get(partition, 0.0)))

    def _forget(self, now: float) -> None:
        while self._commits and self._commits[0][0] < now - _WINDOW_S:
            self._commits.popleft()
