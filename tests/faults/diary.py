"""What workers' logs say that bears on the promises: who opened which shard when, who had a lease when."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
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
    return Tail(worker, path).read()


class Tail:
    """Reads on in a log that grows; a last line that is not whole yet waits for its end."""

    def __init__(
        self,
        worker: str,
        path: Path,
        *,
        keep: Callable[[str], bool] = lambda _event: True,
        watch: Callable[[str, bytes], None] = lambda _name, _text: None,
    ) -> None:
        """Keep the lines of some events, and show everything that is written to `watch`."""
        self.counts: Counter[str] = Counter()
        """How often each event was logged, kept or not."""
        self._worker = worker
        self._path = path
        self._keep = keep
        self._watch = watch
        self._position = 0
        self.lines: list[Line] = []
        """The lines kept so far."""

    def read(self) -> list[Line]:
        """Return all lines kept so far, in the order in which they were written."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole:
            self._position += whole
            self._watch(self._path.name, content[:whole])
            for text in content[:whole].splitlines():
                self._take(text)
        return self.lines

    def _take(self, text: bytes) -> None:
        if not text.startswith(b"{"):
            return
        fields = orjson.loads(text)
        event = fields["event"]
        self.counts[event] += 1
        if self._keep(event):
            at = int(datetime.fromisoformat(fields["at"]).timestamp() * 1000 + 0.5)
            self.lines.append(Line(worker=self._worker, at=at, event=event, fields=fields))


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
