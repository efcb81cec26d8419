"""What workers' logs say that bears on the promises: who opened which shard when, who had a lease when."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a worker's log. `at` is ms since the Unix epoch."""

    worker: str
    at: int
    event: str
    fields: Mapping[str, Any]

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions that it names."""
        named = self.fields.get("partitions", ())
        one = self.fields.get("partition")
        return frozenset(named if isinstance(named, list) else ()) | (
            {one} if isinstance(one, int) else set()
        )


def read_lines(worker: str, path: Path) -> list[Line]:
    """Read a log; a last line that a kill has torn is left out."""
    lines = []
    for text in path.read_bytes().split(b"\n")[:-1]:
        if text.startswith(b"{"):
            fields = orjson.loads(text)
            at = int(datetime.fromisoformat(fields["at"]).timestamp() * 1000 + 0.5)
            lines.append(Line(worker=worker, at=at, event=fields["event"], fields=fields))
    return lines


class Owners:
    """Who had opened a partition last, at any moment."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._opened: dict[int, list[tuple[int, str]]] = {}
        for line in sorted(lines, key=lambda line: line.at):
            if line.event == "shard.opened":
                for partition in line.partitions:
                    self._opened.setdefault(partition, []).append((line.at, line.worker))

    def of(self, partition: int, at: int) -> str | None:
        """Return the process that opened the partition last, at this moment or before; `None`: nobody."""
        opened = self._opened.get(partition, [])
        index = bisect_right(opened, at, key=lambda entry: entry[0])
        return opened[index - 1][1] if index else None
