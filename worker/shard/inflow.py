"""What the feed gives: an inbox for each input, and when the feed pauses, goes on, or is asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.ports import Input
from worker.shard.inbox import Inbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.ports import Feed, Record
    from worker.shard.memory import Memory
    from worker.shard.options import ShardOptions
    from worker.shard.report import Report


class Inflow:
    """Keeps what came in within bounds: requests are paused, and whatever does not fit is asked for again."""

    def __init__(self, *, feed: Feed, report: Report, options: ShardOptions) -> None:
        self._feed = feed
        self._report = report
        self._options = options
        self._paused = False
        self.inbox: dict[Input, Inbox] = {name: Inbox() for name in Input}
        self.holds_moved = False
        """The holds moved, or became known, and nobody has looked yet."""

    def begin(self, position: dict[Input, int]) -> None:
        """Have the feed give what comes from this position on."""
        self.clear()
        self._paused = False
        self._feed.seek(dict(position))
        self._feed.resume()

    def clear(self) -> None:
        """Drop everything: it will be fed again."""
        for inbox in self.inbox.values():
            inbox.clear()

    def offer(self, records: Sequence[Record]) -> None:
        """Keep records, as far as there is room; pause requests when there is none."""
        options = self._options
        for record in records:
            self.inbox[record.input].put(record, most=options.inbox, most_bytes=options.inbox_bytes)
        if self.inbox[Input.REQUESTS].full(most=options.inbox, most_bytes=options.inbox_bytes):
            self._pause()

    def ask_again(self, position: dict[Input, int]) -> None:
        """Ask again for what did not fit into an inbox, once that is empty."""
        if not any(inbox.spilled and not inbox for inbox in self.inbox.values()):
            return
        self._feed.seek({name: inbox.next_of(position[name]) for name, inbox in self.inbox.items()})
        for inbox in self.inbox.values():
            inbox.spilled = False
        if self._paused:
            self._feed.pause()

    def balance(self, memory: Memory) -> None:
        """Stop taking requests when there are too many sagas or bytes; go on when there is room again."""
        options = self._options
        if memory.live >= options.live_sagas or memory.live_bytes >= options.live_bytes:
            self._pause()
            return
        room = (
            memory.live <= options.live_sagas * 0.8
            and memory.live_bytes <= options.live_bytes * 0.8
            and not self.inbox[Input.REQUESTS].full(
                most=options.inbox // 2, most_bytes=options.inbox_bytes // 2
            )
        )
        if self._paused and room:
            self._paused = False
            self._feed.resume()
            self._report.event("shard.resumed")

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._feed.pause()
            self._report.event("shard.paused")
