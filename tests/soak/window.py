"""What a soak remembers: the records, calls and log lines of what has not come to rest long ago.

Each look judges all of it. What came to rest is judged once more, as a whole, and then forgotten but for a
few bytes, by which a late record or call of it is known.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from contracts.topics import LogicalTopic, topic_name
from tests.faults.archive import WRITTEN
from tests.faults.judgement import Remains, doubled_calls, judge
from tests.faults.oncall import Letters
from tests.faults.stage import Notes
from tests.soak.tally import Tally
from tests.soak.units import Units
from worker.sandbox.payment import fingerprint
from worker.telemetry.events import LEVELS, Level
from worker.verify.checker import Violation

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from tests.faults.payment_side import LedgerCall
    from tests.simulation.cluster import Stored
    from tests.soak.seen import Seen
    from worker.verify.history import History

QUIET_MS: Final = 60_000
"""Nobody speaks of a request any more that was asked for longer ago, nor of a letter that has gone."""
_KEPT: Final = frozenset(
    {
        "shard.opened",
        "shard.fenced",
        "shard.drained",
        "lease.gained",
        "lease.lost",
        "partitions.assigned",
        "partitions.revoked",
        "worker.started",
        "worker.stopped",
    }
)
_ERRORS: Final = frozenset(event.value for event, level in LEVELS.items() if level >= Level.ERROR)
_NOT_YET: Final = frozenset({"P1", "P7"})
"""What these promises demand needs its time."""
_CUT: Final = frozenset({"client_left", "sandbox_stopped"})
_AGAIN: Final = 3
_AGAIN_S: Final = 2.0
_TOKEN: Final = re.compile(rb"demo\.[a-z0-9-]+\.slow\d")
"""All tokens of the load look so; none may be in what a worker writes."""
_WHOLE: Final = re.compile(rb"demo\.[a-z0-9-]+\.slow\d+\.t[0-9a-f]+")


def is_kept(event: str) -> bool:
    """Tell whether a log line is kept: the judgement needs it, or somebody must look at it."""
    return event in _KEPT or event in _ERRORS


@dataclass(frozen=True, slots=True)
class View:
    """Some records, as the checker reads them; secrets were looked for when the records came."""

    records: dict[tuple[str, int], list[Stored]]

    def archive(self, topic: str, partition: int) -> Sequence[Stored]:
        """Return the records of a partition, in order."""
        return self.records.get((topic, partition), [])

    def written(self) -> Iterator[Stored]:
        """Yield nothing."""
        yield from ()


class Window:
    """The memory of a soak; `notes` and `take` are what a stage is opened with."""

    def __init__(self, *, again_s: float = _AGAIN_S) -> None:
        """Look again after `again_s` seconds at what looks wrong."""
        self.letters = Letters()
        self.tally = Tally()
        self.calls: dict[int, LedgerCall] = {}
        self.notes = Notes(keep=is_kept, watch=self._watch)
        self._again_s = again_s
        self._found: list[Violation] = []
        self._last = 0
        """The number of the last call that was read."""
        self._concluded = False
        self._settled: set[int] = set()

    # --- what comes --------------------------------------------------------------

    def take(self, topic: LogicalTopic, stored: Stored) -> bool:
        """Take one record; it is kept for a while, unless it is of the journal."""
        self.tally.records[topic] += 1
        if topic in WRITTEN or (topic is LogicalTopic.NOTICES and stored.transaction is not None):
            self._see_no_token(stored)
        if topic is LogicalTopic.DEAD_LETTERS:
            self.letters.take(stored)
            self.tally.letters += stored.value is not None
        elif topic is LogicalTopic.VERDICTS:
            said = orjson.loads(stored.value or b"{}")
            self.tally.verdicts[f"{said.get('command') or 'unreadable'} {said.get('ruling')}"] += 1
        elif topic is LogicalTopic.STATES:
            self.tally.events[orjson.loads(stored.value or b"{}").get("state", "offered")] += 1
            if hash((stored.key or b"").decode()) in self._settled:
                self._found.append(Violation("P2", "an event of a binding that had come to rest", (stored,)))
        return topic is not LogicalTopic.JOURNAL

    def _see_no_token(self, stored: Stored) -> None:
        parts = [stored.key or b"", stored.value or b"", *(content for _, content in stored.headers)]
        if any(_TOKEN.search(part) for part in parts):
            place = f"{stored.topic}/{stored.partition}/{stored.offset}"
            self._found.append(Violation("P8", f"a token stands in clear in {place}"))

    def _watch(self, name: str, text: bytes) -> None:
        self.tally.log_bytes += len(text)
        if _TOKEN.search(text):
            self._found.append(Violation("P8", f"a token stands in clear in {name}"))

    async def read(self, stage: Seen) -> None:
        """Read on: the ledger first, then what must explain its calls."""
        under_way = [number for number, call in self.calls.items() if call.ended is None]
        for call in await stage.ledger(after=min(under_way, default=self._last + 1) - 1):
            if call.number <= self._last and call.number not in self.calls:
                continue  # judged and forgotten
            self.calls[call.number] = call
            self._last = max(self._last, call.number)
        await stage.archive.catch_up()

    # --- looks -------------------------------------------------------------------

    async def look(self, stage: Seen, *, now_at: int, stuck_ms: int) -> list[Violation]:
        """Read on and judge everything that must hold at any time; then forget what has come to rest.

        Topics are read one after the other, so that a transaction may be seen half: what is wrong only then
        is not wrong at the next look. What should have come to rest for `stuck_ms` and has not is told.
        """
        self.tally.looks += 1
        history, found = await self._judged(stage, at_rest=False)
        for _ in range(_AGAIN):
            if not found:
                break
            await asyncio.sleep(self._again_s)
            history, again = await self._judged(stage, at_rest=False)
            shown = {str(violation) for violation in again}
            found = [violation for violation in found if str(violation) in shown]
        if self._found or found:
            return [*self._found, *found]
        return await self._settle(stage, history, now_at=now_at, stuck_ms=stuck_ms)

    async def unended(self, stage: Seen) -> tuple[History, list[Violation]]:
        """Read on; return the history, and what keeps it from being at rest."""
        await stage.archive.catch_up()
        history, violations = await asyncio.to_thread(judge, self._remains(stage), at_rest=True)
        return history, [violation for violation in violations if violation.promise in _NOT_YET]

    async def conclude(self, stage: Seen, *, at_rest: bool) -> list[Violation]:
        """Judge all that is left, and count it, once."""
        history, found = await self._judged(stage, at_rest=at_rest)
        if self._concluded:
            return [*self._found, *found]
        self._concluded = True
        units = Units(history)
        units.date(stage.archive.kept())
        self._count(stage, units, set(units.last_at), list(self.calls.values()))
        return [*self._found, *found]

    async def _judged(self, stage: Seen, *, at_rest: bool) -> tuple[History, list[Violation]]:
        await self.read(stage)
        return await asyncio.to_thread(judge, self._remains(stage), at_rest=at_rest)

    async def _settle(self, stage: Seen, history: History, *, now_at: int, stuck_ms: int) -> list[Violation]:
        units = Units(history)
        units.date(stage.archive.kept())
        quiet = units.quiet(since=now_at - QUIET_MS, waiting=self.letters.standing)
        _, violations = await asyncio.to_thread(
            judge, self._remains(stage, units=units, only=quiet), at_rest=True
        )
        for violation in violations:
            concerned = units.shown_by(violation.shown_by)
            heard_at = max((units.last_at.get(unit, now_at) for unit in concerned), default=0)
            if violation.promise not in _NOT_YET or heard_at < now_at - stuck_ms:
                return violations
            quiet -= concerned
        self._forget(stage, units, quiet)
        return []

    def _remains(self, stage: Seen, *, units: Units | None = None, only: Container[str] = ()) -> Remains:
        """Return all that is remembered, or only some units of it."""
        records: dict[tuple[str, int], list[Stored]] = {}
        tokens: set[str] = set()
        for topic, stored in stage.archive.kept():
            if units is not None and units.of(topic, stored) not in only:
                continue
            records.setdefault((topic_name(topic), stored.partition), []).append(stored)
            if topic is LogicalTopic.REQUESTS and (found := _WHOLE.search(stored.value or b"")):
                tokens.add(found.group().decode())
        calls = list(self.calls.values())
        if units is not None:
            prints = {fingerprint(token) for token in tokens}
            calls = [call for call in calls if call.fingerprint in prints]
        return Remains(
            archive=View(records),
            ledger=calls,
            lines=stage.lines(),
            # All of them: the log lines that they explain are all there, too.
            freezes=stage.freezes,
            ends=dict(stage.ends),
            shaken=list(stage.shaken),
            call_ms=stage.call_ms,
            tokens=sorted(tokens),
        )

    # --- forgetting --------------------------------------------------------------

    def _forget(self, stage: Seen, units: Units, quiet: set[str]) -> None:
        prints = {fingerprint(token) for unit in quiet for token in units.tokens.get(unit, ())}
        calls = [call for call in self.calls.values() if call.fingerprint in prints]
        self._count(stage, units, quiet, calls)
        self._settled.update(hash(unit) for unit in quiet)
        for call in calls:
            del self.calls[call.number]
        stage.archive.forget(lambda topic, stored: units.of(topic, stored) in quiet)

    def _count(self, stage: Seen, units: Units, past: set[str], calls: list[LedgerCall]) -> None:
        self.tally.judged += len(past)
        self.tally.ends.update(units.ends(past))
        self.tally.calls.update(f"{call.step} {call.ended or 'under way'}" for call in calls)
        self.tally.repeated += sum(
            earlier.ended in _CUT and earlier.worker in stage.ends and later.worker != earlier.worker
            for earlier, later in doubled_calls(calls)
        )
