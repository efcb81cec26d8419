"""Verifies a cluster partition by partition, and looks twice before it says that anything is wrong.

While workers go on writing, no reading is of one moment: the records of one transaction lie in several
topics, and the ends of these are asked for one after the other. So what looks wrong in a first look may be
half of a transaction. It is sound to report what stands unchanged in a second one:

- A look takes the high watermark of each topic, and reads committed records up to it. So a transaction that
  is open there is waited for: after the look it is decided.
- A worker commits only after all its sends are acknowledged. So whatever transaction a look has seen a record
  of, its other records lie below the high watermarks that the next look takes: the next look sees all of it.
- What the next look itself sees half of is newer, and changes the records that a violation shows.

So a violation that two looks show with the same records is none of half a transaction. One that only the last
look shows is not settled: it is looked for again, and after the last look it is counted, not reported.
The ledger of calls is read before the topics: of each call that it knows, the events before it are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from contracts.topics import LogicalTopic
from worker.oncall.errors import PartlyDone
from worker.oncall.verify_crossing import Crossing
from worker.oncall.verify_reading import COMPACTED, ORDER, Shelf, learn, spans_of, stored_of
from worker.verify.calls import attempts_of, fingerprint_of, taken_up_late
from worker.verify.checker import examine, examine_passed_on
from worker.verify.clear_text import Secrets
from worker.verify.coverage import Coverage
from worker.verify.history import Topic
from worker.verify.reader import Gathering
from worker.verify.shown import identity_of
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from worker.oncall.cluster import Cluster, Found, Span
    from worker.oncall.verify_reading import Wish
    from worker.verify.calls import Call
    from worker.verify.checker import Examined
    from worker.verify.history import Attempt, History
    from worker.verify.violations import Violation

LOOKS: Final = 4
"""How often a partition is looked at, at most."""
TOGETHER: Final = 200_000
"""Up to so many requests and notices, the tokens of all partitions are looked for in all of them."""
_STALL_MS: Final = 120_000


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of it."""

    violations: list[Violation] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)
    unsettled: list[Violation] = field(default_factory=list)
    """What looked wrong in the last look only."""
    records: int = 0
    partitions: tuple[int, ...] = ()


async def verify(
    cluster: Cluster,
    wish: Wish,
    *,
    elapsed: Callable[[], int],
    read: Callable[[int], None] = lambda _count: None,
    looks: int = LOOKS,
    together: int = TOGETHER,
) -> Report:
    """Read, check, look again where something looks wrong. `read` hears of records. Raises `PartlyDone`."""
    return await _Verifying(cluster, wish, elapsed=elapsed, read=read, looks=looks, together=together).whole()


class _Verifying:
    def __init__(
        self,
        cluster: Cluster,
        wish: Wish,
        *,
        elapsed: Callable[[], int],
        read: Callable[[int], None],
        looks: int,
        together: int,
    ) -> None:
        self._looks = looks
        self._together = together
        self._cluster = cluster
        self._wish = wish
        self._elapsed = elapsed
        self._read = read
        self._report = Report()
        self._count = 0
        self._crossing = Crossing()
        self._calls: dict[str, list[Call]] = {}
        self._known: set[str] = set()
        """Fingerprints of the tokens that requests name."""

    async def whole(self) -> Report:
        """Verify all partitions, one after the other."""
        wish, report = self._wish, self._report
        self._count = await self._cluster.partitions(LogicalTopic.REQUESTS)
        chosen = range(self._count) if wish.partitions is None else sorted(wish.partitions)
        report.partitions = tuple(chosen)
        self._sort_calls()
        secrets = await self._all_tokens(chosen)
        for partition in chosen:
            shelf = Shelf(partition, partitions=self._count, wish=wish, secrets=secrets)
            await self._settle(shelf)
            self._note_secrets(shelf, together=secrets is not None)
        if secrets is not None:
            report.coverage.check("P8", "tokens", len(secrets))
        await self._settle_crossing(whole=len(chosen) == self._count)
        self._unexplained(whole=len(chosen) == self._count)
        return report

    # --- one partition ------------------------------------------------------------

    async def _settle(self, shelf: Shelf) -> None:
        """Look until all that looks wrong has been seen twice."""
        suspects: frozenset[object] = frozenset()
        for look in range(self._looks):
            await self._look(shelf)
            history = self._history(shelf)
            examined = examine(history, passed_on=False)
            found = _by_identity(examined)
            if found.keys() <= suspects or look == self._looks - 1:
                break
            suspects = frozenset(found)
        self._report.violations += [found[name] for name in found if name in suspects]
        self._leave_unsettled([found[name] for name in found if name not in suspects])
        self._report.coverage.add(examined.coverage)
        self._crossing.take(history)
        self._crossing.read_to[shelf.partition] = shelf.read_to[LogicalTopic.REQUESTS]

    def _leave_unsettled(self, unsettled: Sequence[Violation]) -> None:
        self._report.unsettled += unsettled
        for found in unsettled:
            self._report.coverage.leave(found.promise, "what looked wrong in another way at each look")

    async def _look(self, shelf: Shelf) -> None:
        spans = {
            topic: (await spans_of(self._cluster, self._wish, topic))[shelf.partition] for topic in ORDER
        }
        for topic in ORDER:
            wanted = shelf.read_to.get(topic, 0)
            span = spans[topic]
            if topic in shelf.read_to:
                span = replace(span, start=wanted)
            span = await self._still_there(topic, span)
            if span.start > wanted and topic not in COMPACTED:
                shelf.begun_before.add(Topic(topic.value))
            shelf.read_to[topic] = max(span.start, span.end)
            if span.start < span.end:
                await self._take(shelf, topic, span)

    async def _take(self, shelf: Shelf, topic: LogicalTopic, span: Span) -> None:
        async for batch in self._batches(topic, span):
            for record in batch:
                shelf.take(topic, record)
            self._report.records += len(batch)
            self._read(len(batch))

    async def _still_there(self, topic: LogicalTopic, span: Span) -> Span:
        """Return what is left of a stretch just before it is read: retention does not wait for us."""
        if span.start >= span.end:
            return span
        begin = (await self._cluster.spans(topic))[span.partition].begin
        return replace(span, start=max(span.start, begin))

    async def _batches(self, topic: LogicalTopic, span: Span) -> AsyncIterator[Sequence[Found]]:
        """Give the records of a stretch, not for ever. Raises `PartlyDone`."""
        moved_at = self._elapsed()
        async for batch in self._cluster.read_span(topic, span):
            if batch:
                moved_at = self._elapsed()
                yield batch
            elif self._elapsed() - moved_at > _STALL_MS:
                raise PartlyDone(
                    f"nothing is proven: {topic.value}/{span.partition} cannot be read any further: a "
                    "transaction is open there, which ends by the transaction time-out of whoever began it, "
                    "or its brokers do not answer"
                )

    def _history(self, shelf: Shelf) -> History:
        wish = self._wish
        history = replace(
            shelf.gathering.history(),
            journals=() if wish.until is not None else (shelf.fold.seen(),),
            at_rest=wish.at_rest,
            begun_before=frozenset(shelf.begun_before),
            ended_before=wish.until is not None,
            partitions=self._count,
            ends={shelf.partition: shelf.read_to[LogicalTopic.REQUESTS]},
            limits=wish.limits,
        )
        return replace(history, attempts=tuple(self._attempts(history)))

    # --- calls ----------------------------------------------------------------------

    def _sort_calls(self) -> None:
        for call in self._wish.calls or ():
            if taken_up_late(call, call_ms=self._wish.call_ms):
                self._report.coverage.leave("P3", "calls whose caller had gone: when they began is not known")
                self._known.add(call.fingerprint)
                continue
            self._calls.setdefault(call.fingerprint, []).append(call)

    def _attempts(self, history: History) -> list[Attempt]:
        if not self._calls:
            return []
        targets = {
            fingerprint_of(target.partition(":")[2]): target
            for request in history.requests
            for target in request.targets
            if target.startswith("token:")
        }
        self._known |= targets.keys()
        calls = [call for name in targets.keys() & self._calls.keys() for call in self._calls[name]]
        return list(attempts_of(sorted(calls, key=lambda call: call.number), history, targets=targets))

    def _unexplained(self, *, whole: bool) -> None:
        if self._wish.calls is None:
            for promise in ("P3", "P4", "P5"):
                self._report.coverage.lack(promise, "calls: no ledger was given, only the events were judged")
            return
        strange = [call for name, calls in self._calls.items() if name not in self._known for call in calls]
        if (
            whole
            and self._wish.since is None
            and self._wish.until is None
            and Topic.REQUESTS not in self._crossing.begun_before
        ):
            self._report.violations += [broken("call.unexplained", (call,)) for call in strange]
        elif strange:
            self._report.coverage.leave("P3", "calls for tokens outside what was read", len(strange))

    # --- tokens -----------------------------------------------------------------------

    async def _all_tokens(self, chosen: Sequence[int]) -> Secrets | None:
        """Return the tokens of all partitions, unless they are too many for all at once."""
        spans = [
            (topic, span)
            for topic in (LogicalTopic.REQUESTS, LogicalTopic.NOTICES)
            for span in await spans_of(self._cluster, self._wish, topic)
            if span.partition in chosen
        ]
        if sum(span.end - span.start for _, span in spans) > self._together:
            return None
        secrets = Secrets()
        for topic, stretch in spans:
            span = await self._still_there(topic, stretch)
            if span.start >= span.end:
                continue
            async for batch in self._batches(topic, span):
                short = sum(
                    not learn(secrets, stored_of(topic, record, prefix=self._wish.prefix)) for record in batch
                )
                self._report.coverage.leave("P8", "tokens too short to be told from other text", short)
        return secrets

    def _note_secrets(self, shelf: Shelf, *, together: bool) -> None:
        coverage = self._report.coverage
        self._report.violations += [
            broken("secret.in_clear", (leak,), what=f"a secret stands in clear in {leak.origin}")
            for leak in shelf.leaks
        ]
        coverage.check("P8", "records", shelf.searched)
        coverage.leave("P8", "tokens too short to be told from other text", shelf.too_short)
        if not together:
            coverage.check("P8", "tokens", len(shelf.secrets))
            coverage.leave("P8", "tokens were looked for in their own partition only", len(shelf.secrets))

    # --- requests that were passed on ---------------------------------------------------

    async def _settle_crossing(self, *, whole: bool) -> None:
        crossing, report = self._crossing, self._report
        if not whole:
            count = len(crossing.astray)
            report.coverage.leave(
                "P1", "requests in the wrong partition: not all partitions were read", count
            )
            return
        suspects: frozenset[object] = frozenset()
        for look in range(self._looks):
            if look:
                await self._more_forwards()
            examined = examine_passed_on(crossing.history(self._wish))
            found = _by_identity(examined)
            if found.keys() <= suspects or look == self._looks - 1:
                break
            suspects = frozenset(found)
        report.violations += [found[name] for name in found if name in suspects]
        self._leave_unsettled([found[name] for name in found if name not in suspects])
        report.coverage.add(examined.coverage)

    async def _more_forwards(self) -> None:
        for span in await spans_of(self._cluster, self._wish, LogicalTopic.REQUESTS):
            wanted = self._crossing.read_to[span.partition]
            stretch = await self._still_there(LogicalTopic.REQUESTS, replace(span, start=wanted))
            if stretch.start > wanted:
                self._crossing.begun_before.add(Topic.REQUESTS)
            if stretch.start >= stretch.end:
                continue
            gathering = Gathering(partitions=self._count, consulted=self._wish.consulted)
            async for batch in self._batches(LogicalTopic.REQUESTS, stretch):
                for record in batch:
                    stored = stored_of(LogicalTopic.REQUESTS, record, prefix=self._wish.prefix)
                    gathering.take(LogicalTopic.REQUESTS, stored)
            self._crossing.take_forwards(gathering.history().requests)
            self._crossing.read_to[span.partition] = span.end


def _by_identity(examined: Examined) -> dict[object, Violation]:
    return {(found.kind, identity_of(found.shown_by)): found for found in examined.violations}
