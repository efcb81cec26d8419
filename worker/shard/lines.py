"""Stopped lines: who waits for one, when it is tried again and by whom, and what opens it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from worker.shard.journal import LineRecord
from worker.shard.memory import Line

if TYPE_CHECKING:
    from worker.saga.results import Result
    from worker.shard.memory import Entry, Memory
    from worker.shard.under_way import CallUnderWay
    from worker.shard.unit import Unit

PROBE_WAITS_MS: Final = (30_000, 60_000, 120_000, 300_000, 600_000)
"""The gaps between probes of a stopped line; the last one repeats."""


class Lines:
    """The stopped lines of one memory; a line that is not among them is open."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def stopped(self, name: str) -> bool:
        """Tell whether a line is stopped."""
        return name in self._memory.lines

    # --- those who wait ---------------------------------------------------------

    def passes(self, name: str, key: str, *, now_at: int) -> bool:
        """Tell whether this saga may call: the line is open, or the saga is its probe, from now on."""
        line = self._memory.lines.get(name)
        if line is None:
            return True
        if line.probe in (None, key) and now_at >= _probe_at(line, now_at=now_at):
            line.probe = key
            return True
        return False

    def bars(self, name: str, key: str) -> bool:
        """Tell whether the line is stopped for this saga, which is not its probe."""
        line = self._memory.lines.get(name)
        return line is not None and line.probe != key

    def wait(self, name: str, key: str) -> None:
        """Note that a saga waits for a line."""
        line = self._memory.lines.get(name)
        if line is not None:
            line.waiting[key] = None

    def leave(self, key: str) -> None:
        """Note that a saga waits for no line any more."""
        for line in self._memory.lines.values():
            line.waiting.pop(key, None)

    def probe_no_more(self, key: str) -> None:
        """Let another saga be the probe of a line: this one will not call."""
        for line in self._memory.lines.values():
            if line.probe == key:
                line.probe = None

    # --- what a call says of its line ---------------------------------------------

    def stop(self, unit: Unit, under_way: CallUnderWay, result: Result) -> None:
        """Stop the line of a call that said so; if the call was its probe, it stays stopped for longer."""
        line = self._memory.lines.get(under_way.line)
        if line is None:
            record = LineRecord(
                stopped_at=unit.now_at, probe_at=unit.now_at + PROBE_WAITS_MS[0], code=result.code
            )
            self._memory.lines[under_way.line] = Line(record)
            unit.keep_line(under_way.line, record)
            unit.note("line.stopped", line=under_way.line, code=result.code, next_attempt_at=record.probe_at)
        elif line.probe == under_way.saga_id:
            self._probe_later(unit, under_way.line, line)

    def answered(self, unit: Unit, under_way: CallUnderWay, *, verified: bool) -> None:
        """Open a line that gave any other verified answer; a probe without one is made again later."""
        line = self._memory.lines.get(under_way.line)
        if line is None:
            return
        if not verified:
            if line.probe == under_way.saga_id:
                self._probe_later(unit, under_way.line, line)
            return
        del self._memory.lines[under_way.line]
        unit.keep_line(under_way.line, None)
        unit.note("line.opened", line=under_way.line)
        self._memory.look_at(line.waiting)

    def _probe_later(self, unit: Unit, name: str, line: Line) -> None:
        probes = line.record.probes + 1
        gap = PROBE_WAITS_MS[min(probes, len(PROBE_WAITS_MS) - 1)]
        line.record = replace(line.record, probes=probes, probe_at=unit.now_at + gap)
        line.probe = None
        unit.keep_line(name, line.record)

    # --- probes -------------------------------------------------------------------

    def next_probe(self, *, now_at: int) -> int | None:
        """Return when the next line is to be tried (ms since the Unix epoch)."""
        lines = self._memory.lines.values()
        return min(
            (_probe_at(line, now_at=now_at) for line in lines if line.waiting and not line.probe),
            default=None,
        )

    def probes(self, *, now_at: int) -> list[Entry]:
        """Name the sagas that try a line now: the oldest of each where a probe is due."""
        memory = self._memory
        return [
            memory.entries[min(line.waiting, key=lambda key: memory.entries[key].order)]
            for line in memory.lines.values()
            if line.waiting and line.probe is None and now_at >= _probe_at(line, now_at=now_at)
        ]


def _probe_at(line: Line, *, now_at: int) -> int:
    """Return when a line is to be tried; further ahead than any gap, it was set by a clock since set back."""
    probe_at = line.record.probe_at
    return probe_at if probe_at - now_at <= PROBE_WAITS_MS[-1] else now_at
