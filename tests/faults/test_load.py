"""A load without an end is a plan: the same from the same seed, of every kind, and kept nowhere."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from random import Random
from typing import TYPE_CHECKING

import orjson
import pytest

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.commands import read_hold
from contracts.notices import TokenCanceled, read_notice
from contracts.requests import RebindingRequested, UnbindingRequested, read_request
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import ContractError, InvalidEvent
from tests.faults.load import REACH_MS, Load
from tests.faults.stage import PARTITIONS

if TYPE_CHECKING:
    from tests.faults.records import Planned

START = 1_767_225_600_000
RATE = 25.0


def make_load(seed: int) -> Load:
    """Return a load with everything."""
    return Load(random=Random(seed), partitions=PARTITIONS, begins_at=START, full=True)  # noqa: S311 - a seed


def stream(seed: int, count: int) -> list[Planned]:
    """Return the first records of an endless load."""
    return list(islice(make_load(seed).endless(RATE), count))


def test_endless_load_comes_from_its_seed() -> None:
    """One seed gives one stream, byte for byte, another seed another one."""
    assert stream(3, 800) == stream(3, 800)
    assert stream(3, 800) != stream(4, 800)


def test_endless_load_keeps_nothing() -> None:
    """After thousands of records a load remembers no more than it may repeat."""
    load = make_load(5)
    for _ in islice(load.endless(RATE), 1_500):
        assert len(load.planned) < 10
        assert len(load.tokens) < 10


def test_endless_load_keeps_its_rate() -> None:
    """Over a long time about as many requests come as were asked for, in order, in bursts and quiet times."""
    found = [record for record in stream(7, 5_000) if record.topic is LogicalTopic.REQUESTS]
    times = [record.after_ms for record in found]
    assert times == sorted(times)
    assert 0.7 * RATE < len(found) / (times[-1] / 1000) < 1.4 * RATE
    seconds = Counter(at // 1000 for at in times)
    assert max(seconds.values()) > 2 * RATE
    assert min(seconds.get(second, 0) for second in range(times[-1] // 1000)) < RATE / 4


def test_plan_has_the_number_asked_for() -> None:
    """A plan of so many requests has exactly those, whatever comes with them, sorted by time."""
    load = make_load(9)
    planned = load.plan(300, over_ms=10_000)
    assert sum(record.topic is LogicalTopic.REQUESTS for record in planned) == 300
    assert {record.topic for record in planned} == {
        LogicalTopic.REQUESTS,
        LogicalTopic.NOTICES,
        LogicalTopic.HOLDS,
    }
    assert all(earlier.after_ms <= later.after_ms for earlier, later in pairwise(planned))


class Sorted:
    """A stream, by what each record is."""

    def __init__(self, records: list[Planned]) -> None:
        self.kinds: Counter[str] = Counter()
        self._asked: dict[str, int] = {}
        self._bound: set[str] = set()
        self._events: set[tuple[tuple[str, bytes], ...]] = set()
        self._told: set[str] = set()
        self._notices: set[str] = set()
        for record in records:
            match record.topic:
                case LogicalTopic.REQUESTS:
                    self._request(record)
                case LogicalTopic.NOTICES:
                    self._notice(record)
                case _:
                    self._hold(record)

    def _request(self, record: Planned) -> None:
        repeated = record.headers in self._events
        self._events.add(record.headers)
        try:
            request = read_request(read_event(record.value, record.headers))
        except UnreadableEvent:
            self.kinds["junk"] += 1
            return
        except InvalidEvent:
            self.kinds["invalid"] += 1
            return
        if isinstance(request, RebindingRequested):
            self.kinds["rebinding"] += 1
            return
        self._unbinding(record, request, repeated=repeated)

    def _unbinding(self, record: Planned, request: UnbindingRequested, *, repeated: bool) -> None:
        token = request.access_token or ""
        if repeated:
            self.kinds["repeated"] += 1
        elif token in self._asked:
            self.kinds["joined"] += 1
            assert record.after_ms <= self._asked[token] + 2 * REACH_MS
        elif request.binding_id in self._bound:
            self.kinds["second token"] += 1
        else:
            self.kinds["fresh"] += 1
        if partition_of(request.binding_id, PARTITIONS) != record.partition:
            self.kinds["astray"] += 1
        if request.expires_at_ms is not None:
            late = request.expires_at_ms <= START + record.after_ms
            self.kinds["expired" if late else "expiring"] += 1
        if token in self._told and token not in self._asked:
            self.kinds["notice early"] += 1
        self._asked.setdefault(token, record.after_ms)
        self._bound.add(request.binding_id)

    def _notice(self, record: Planned) -> None:
        try:
            notice: TokenCanceled = read_notice(read_event(record.value, record.headers))
        except ContractError:
            self.kinds["notice unreadable"] += 1
            return
        token = notice.access_token or ""
        if notice.notice_id in self._notices:
            self.kinds["notice twice"] += 1
        elif token in self._asked:
            self.kinds["notice late"] += 1
        if notice.binding_id is None:
            self.kinds["notice for all"] += 1
        elif partition_of(notice.binding_id, PARTITIONS) != record.partition:
            self.kinds["notice astray"] += 1
        self._told.add(token)
        self._notices.add(notice.notice_id)

    def _hold(self, record: Planned) -> None:
        if record.value is None:
            self.kinds["hold released"] += 1
            return
        try:
            hold = read_hold(record.value)
        except InvalidEvent:
            self.kinds["hold unreadable"] += 1
            return
        assert 0 < hold.until_ms - START - record.after_ms <= 10_000
        self.kinds["hold"] += 1

    @property
    def told_of_nothing(self) -> int:
        """How many tokens only notices name."""
        return len(self._told - self._asked.keys())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_kind_occurs(seed: int) -> None:
    """Four minutes of an endless load have every kind of request, notice and hold."""
    found = Sorted(stream(seed, 6_000))
    wanted = {
        *("fresh", "repeated", "joined", "second token", "astray", "junk", "invalid", "rebinding"),
        *("expiring", "expired", "notice early", "notice late", "notice twice", "notice for all"),
        *("notice astray", "notice unreadable", "hold", "hold released", "hold unreadable"),
    }
    assert wanted == found.kinds.keys()
    assert found.told_of_nothing > 0


def test_nothing_is_asked_again_late() -> None:
    """However slow a load is, it repeats no request, and sends no notice for one, that is long past."""
    first: dict[str, int] = {}
    for record in islice(make_load(6).endless(0.5), 600):
        if record.value is None or not record.value.startswith(b"{"):
            continue
        token = orjson.loads(record.value).get("accessToken")
        if token is None:
            continue
        # Within reach of the last time; a notice may take some seconds more.
        assert record.after_ms - first.get(token, record.after_ms) <= REACH_MS + 5_000
        first[token] = record.after_ms


def test_tokens_are_known_by_their_form() -> None:
    """Every token of a load has the form by which a soak looks for tokens in what workers write."""
    for record in stream(4, 1_000):
        data = b"" if record.value is None or not record.value.startswith(b"{") else record.value
        token = orjson.loads(data or b"{}").get("accessToken")
        assert token is None or (token.startswith("demo.") and ".slow" in token)
