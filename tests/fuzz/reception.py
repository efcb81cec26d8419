"""A real shard that is sent bad records among good ones, and what must be true of it afterwards."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from typing_extensions import override

from contracts.cloudevents import UnreadableEvent, peek_binding_id, read_event
from contracts.commands import read_verdict
from contracts.dead_letters import FORWARDED_FROM_HEADER, LetterHeaders
from contracts.origins import Origin
from contracts.states import Reason, read_state
from contracts.topics import LogicalTopic, topic_name
from contracts.wire import has_control_characters
from tests.shard.desk import Desk, Ear, home
from worker.ports import Input
from worker.sealing.seal import Sealed
from worker.telemetry import Metrics, Observer, make_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.grammar import Headers
    from tests.simulation.cluster import Stored

SECRET: Final = "s3cr3t"
"""In every token, key and account of what is sent; found in what the worker writes or says, it has leaked."""
REQUESTS: Final = topic_name(LogicalTopic.REQUESTS)
TOPIC_OF: Final = {
    Input.REQUESTS: LogicalTopic.REQUESTS,
    Input.NOTICES: LogicalTopic.NOTICES,
    Input.COMMANDS: LogicalTopic.COMMANDS,
}


@dataclass(frozen=True, slots=True)
class Bad:
    """One record that may be anything."""

    source: Input
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_at: int


class StrictEar(Ear):
    """Hears what the shard says through the real logger and metrics, which refuse what they do not list."""

    def __init__(self) -> None:
        super().__init__()
        self.page = io.StringIO()
        self.metrics = Metrics()
        logger = make_logger(
            stream=self.page, style="json", clock=lambda: 0, dropped=lambda _: None, strict=True
        )
        self._observer = Observer(logger=logger, metrics=self.metrics, strict=True)

    @override
    def log(self, event: str, **fields: object) -> None:
        super().log(event, **fields)
        self._observer.log(event, **fields)

    @override
    def count(self, metric: str, n: int = 1, **labels: str) -> None:
        super().count(metric, n, **labels)
        self._observer.count(metric, n, **labels)

    @override
    def gauge(self, metric: str, value: float, **labels: str) -> None:
        super().gauge(metric, value, **labels)
        self._observer.gauge(metric, value, **labels)

    def said(self) -> str:
        """Return every log line and metric, as the outside gets them."""
        return self.page.getvalue() + self.metrics.exposition().decode()


class Reception:
    """A desk whose visitors are not to be trusted; good requests stand before, among and after them."""

    def __init__(self, *, pace: int = 0) -> None:
        """``pace`` decides how the records are cut into batches."""
        self.desk = Desk()
        self.ear = self.desk.ear = StrictEar()
        self.desk.network.random.seed(pace)
        self.desk.hire()
        self.sent: list[tuple[Bad, Origin]] = []
        self.good: list[str] = []

    # --- what is sent -------------------------------------------------------------

    def send_good(self) -> None:
        """Send a request that must come to its right end."""
        binding = home(f"neighbour-{len(self.good)}")
        self.good.append(binding)
        self.desk.request(binding, f"neighbour-token-{len(self.good)}")

    def send(self, bad: Bad) -> Origin:
        """Send a record as it is."""
        topic = topic_name(TOPIC_OF[bad.source])
        offset = self.desk.cluster.append(
            topic, 0, key=bad.key, value=bad.value, headers=bad.headers, timestamp_at=bad.timestamp_at
        )
        origin = Origin(topic, 0, offset)
        self.sent.append((bad, origin))
        return origin

    async def settle(self) -> None:
        """Wait until everything is taken and the good requests have ended; the shard never closes for it."""
        desk = self.desk
        ends = {
            source: desk.cluster.high_watermark(topic_name(topic), 0) for source, topic in TOPIC_OF.items()
        }
        await desk.until(lambda: (desk.shard.position() or {}).items() >= ends.items())
        await desk.until(lambda: all("unbound" in desk.told(binding) for binding in self.good))
        await desk.rest()
        assert desk.shard.state == "open", desk.why()

    # --- what must be true --------------------------------------------------------

    def check(self, *, restores: int = 1, ways: bool = True) -> None:
        """See that nothing crashed, nobody was lost, and nothing was given away."""
        assert not self.ear.heard("saga.crashed")
        assert not self.ear.heard("shard.crashed")
        assert self.desk.log.restores == restores, "a record cost the shard its memory"
        for binding in self.good:
            told = self.desk.told(binding)
            assert told[0] == "requested", told
            assert told[-1] == "unbound", told
            assert told.count("unbound") == 1, told
        self._check_letters()
        if ways:
            self._check_ways()
        self._check_events()
        self.check_secrets()

    def _check_letters(self) -> None:
        """Each letter is readable, says why in words, and its value is the original, sealed."""
        originals = {
            record.value or b""
            for topic in (LogicalTopic.REQUESTS, LogicalTopic.NOTICES)
            for record in self._archive(topic)
        }
        for record in self._archive(LogicalTopic.DEAD_LETTERS):
            if record.value is None:
                continue
            letter = LetterHeaders.from_headers(record.headers)
            assert letter.key.encode() == record.key
            assert letter.reason is not Reason.CRASHED, letter.message
            assert letter.message
            assert len(letter.message.encode()) <= 256
            assert not has_control_characters(letter.message)
            raw = dict(record.headers)["unbinding-message"]
            assert raw.decode() == letter.message
            if letter.sealed_with is not None:
                sealed = Sealed(key_id=letter.sealed_with, value=record.value)
                value = self.desk.vault.unseal(sealed, key=letter.key)
                assert value in originals

    def _check_ways(self) -> None:
        """Each record of the requests went exactly one way."""
        asked = [origin for bad, origin in self.sent if bad.source is Input.REQUESTS]
        forwarded = Counter(
            dict(record.headers)[FORWARDED_FROM_HEADER].decode()
            for record in self.desk.cluster.committed(REQUESTS, 1)
        )
        letters = {record.key for record in self._archive(LogicalTopic.DEAD_LETTERS)}
        loose = Counter(origin.text for origin in asked if origin.text.encode() in letters)
        sagas = {
            record.key
            for record in self._archive(LogicalTopic.JOURNAL)
            if (record.key or b"").startswith(b"request:") and b"/" not in (record.key or b"")
        }
        joined = self.desk.told().count("joined")
        repeated = len(self.ear.heard("record.ignored"))
        assert all(forwarded[origin.text] + loose[origin.text] <= 1 for origin in asked)
        told = len(sagas) + joined + repeated + forwarded.total() + loose.total()
        assert told == len(asked) + len(self.good), "a request went no way, or more than one"

    def _check_events(self) -> None:
        """Every event and verdict is one that the contract's own readers take, once."""
        seen: set[str] = set()
        for record in self._archive(LogicalTopic.STATES):
            event = read_event(record.value, record.headers)
            read_state(event)
            assert event.id not in seen
            seen.add(event.id)
        for record in self._archive(LogicalTopic.VERDICTS):
            event = read_event(record.value, record.headers)
            verdict = read_verdict(event)
            assert verdict.letter.encode() == record.key
            assert event.id not in seen
            seen.add(event.id)
        commands = sum(bad.source is Input.COMMANDS for bad, _ in self.sent)
        assert len(self._archive(LogicalTopic.VERDICTS)) == commands, "a command has no verdict, or two"

    def check_secrets(self) -> None:
        """See that no secret stands in what the worker wrote or said."""
        if any(_is_public(bad) for bad, _ in self.sent):
            return
        inputs = {topic_name(LogicalTopic.REQUESTS)}
        for record in self.desk.cluster.written():
            if record.transaction is None or record.topic in inputs:
                continue
            for part in (record.key, record.value, *(part for pair in record.headers for part in pair)):
                assert not _has_secret(part), f"{record.topic} shows a secret"
        assert SECRET not in self.ear.said()
        assert SECRET not in repr(self.ear.lines)
        assert SECRET not in (self.desk.shard.why or "")

    async def check_restart(self) -> None:
        """See that another worker restores all of it, and adds nothing."""
        desk = self.desk
        before = self._outside()
        crashed = len(self.ear.heard("shard.opened"))
        await desk.crash()
        await desk.rest()
        assert desk.shard.state == "open", desk.why()
        assert len(self.ear.heard("shard.opened")) == crashed + 1
        assert self._outside() == before
        self.send_good()
        await self.settle()

    def _outside(self) -> list[Any]:
        topics = (LogicalTopic.STATES, LogicalTopic.DEAD_LETTERS, LogicalTopic.VERDICTS)
        found: list[Any] = [self._archive(topic) for topic in topics]
        return [*found, self.desk.cluster.committed(REQUESTS, 1)]

    def _archive(self, topic: LogicalTopic) -> Sequence[Stored]:
        return self.desk.cluster.archive(topic_name(topic), 0)


def _has_secret(part: str | bytes | None) -> bool:
    if part is None:
        return False
    return SECRET.encode() in part if isinstance(part, bytes) else SECRET in part


def _is_public(bad: Bad) -> bool:
    """Tell whether a mutation has put a secret where the contract says that it is shown: ids, attributes."""
    if any(_has_secret(name) or _has_secret(value) for name, value in bad.headers if _shown(name)):
        return True
    try:
        event = read_event(bad.value, bad.headers)
    except UnreadableEvent:
        return False
    attributes = (event.id, event.source, event.type, event.subject, event.correlation_id, event.causation_id)
    if any(_has_secret(text) for text in (*attributes, peek_binding_id(event))):
        return True
    echoed = ("letter", "planId", "by", "why", "noticeId", "bindingId")
    if bad.source is Input.COMMANDS and any(_has_secret(str(event.data.get(name))) for name in echoed):
        return True
    # What stands in a token's place is one; a notice hands on all else that it says.
    shown = {name: content for name, content in event.data.items() if name != "accessToken"}
    return bad.source is Input.NOTICES and _has_secret(orjson.dumps(shown))


def _shown(name: str) -> bool:
    return name.startswith("ce_") or name in {"traceparent", "tracestate", "content-type"}
