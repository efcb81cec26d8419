"""One partition as it is read for the checker: what is read of which topic, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from contracts.dead_letters import BROADCAST_FROM_HEADER, FORWARDED_FROM_HEADER, read_origin_header
from contracts.topics import LogicalTopic, topic_name
from worker.oncall.verify_journal import JournalFold
from worker.verify.clear_text import Secrets
from worker.verify.history import Written
from worker.verify.inputs import token_in
from worker.verify.reader import Gathering
from worker.verify.records import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from contracts.requests import RebindingRequested, UnbindingRequested
    from worker.oncall.cluster import Cluster, Found, Span
    from worker.ports import Headers
    from worker.verify.calls import Call
    from worker.verify.history import Limits, Topic

MARGIN_MS: Final = 600_000
"""What workers write is read from so long before the window: their clocks are not those of upstream."""
_CONSTANT: Final = frozenset({"ce_specversion", "ce_source", "ce_type", "content-type"})
SHORTEST_TOKEN: Final = 8
"""A shorter token cannot be told from other text."""

ORDER: Final = (
    # Tokens first: they are looked for in all else.
    LogicalTopic.REQUESTS,
    LogicalTopic.NOTICES,
    LogicalTopic.COMMANDS,
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)
COMPACTED: Final = frozenset({LogicalTopic.JOURNAL, LogicalTopic.DEAD_LETTERS})
UPSTREAM: Final = frozenset({LogicalTopic.REQUESTS, LogicalTopic.NOTICES, LogicalTopic.COMMANDS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be verified, and what is known of the workers."""

    since: int | None = None
    """Only requests of that time and later (ms since the epoch), and what became of them."""
    until: int | None = None
    partitions: frozenset[int] | None = None
    prefix: str = ""
    """Of the topics' names."""
    at_rest: bool = False
    limits: Limits
    consulted: Callable[[UnbindingRequested | RebindingRequested], bool]
    calls: Sequence[Call] | None = None
    """Of the ledger; `None`: there is none."""
    call_ms: int = 0
    """How long a worker lets a call take."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as the checker reads it."""

    topic: str
    partition: int
    offset: int
    timestamp_at: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction_number: int | None = None

    @property
    def moment(self) -> int:
        """Its time, and room for what came later in the same ms."""
        return self.timestamp_at * 2


async def how_many(cluster: Cluster, wish: Wish) -> int:
    """Return about how many records are to be read."""
    total = 0
    for topic in ORDER:
        for span in await spans_of(cluster, wish, topic):
            if wish.partitions is None or span.partition in wish.partitions:
                total += span.end - span.start
    return total


async def spans_of(cluster: Cluster, wish: Wish, topic: LogicalTopic) -> list[Span]:
    """Return what is to be read of a topic as of now; what is compacted is read whole."""
    if topic in COMPACTED:
        return await cluster.spans(topic)
    since = wish.since
    if since is not None and topic not in UPSTREAM:
        since -= MARGIN_MS
    return await cluster.spans(topic, since=since, until=wish.until)


class Shelf:
    """What was read of one partition so far."""

    def __init__(self, partition: int, *, partitions: int, wish: Wish, secrets: Secrets | None) -> None:
        self.partition = partition
        self._prefix = wish.prefix
        self.gathering = Gathering(partitions=partitions, consulted=wish.consulted)
        self.fold = JournalFold(partition)
        self.own_secrets = secrets is None
        self.secrets = Secrets() if secrets is None else secrets
        self._constant: set[tuple[str, bytes]] = set()
        self._searched_for = -1
        self.leaks: list[Written] = []
        self.searched = 0
        self.read_to: dict[LogicalTopic, int] = {}
        self.begun_before: set[Topic] = set()
        self.too_short = 0

    def take(self, topic: LogicalTopic, record: Found) -> None:
        """Take a record in, and look for tokens in it if the worker wrote it."""
        stored = stored_of(topic, record, prefix=self._prefix)
        if topic is LogicalTopic.JOURNAL:
            self.fold.take(record)
        else:
            self.gathering.take(topic, stored)
        if self.own_secrets and topic in (LogicalTopic.REQUESTS, LogicalTopic.NOTICES):
            self.too_short += not learn(self.secrets, stored)
        if topic not in UPSTREAM or (topic is LogicalTopic.NOTICES and _is_passed_on(stored.topic, record)):
            self.searched += 1
            if self.secrets.within(self._content(stored)):
                self.leaks.append(Written(origin=origin_of(stored), content=b""))

    def _content(self, stored: Stored) -> bytes:
        """Return the bytes to search in one piece; constant headers are searched once."""
        if self._searched_for != len(self.secrets):
            self._constant.clear()
            self._searched_for = len(self.secrets)
        parts = [stored.key or b"", stored.value or b""]
        for header in stored.headers:
            if header in self._constant:
                continue
            name, content = header
            if name in _CONSTANT:
                self._constant.add(header)
            parts += (name.encode(), content)
        return b"\n".join(parts)


def learn(secrets: Secrets, stored: Stored) -> bool:
    """Take a record's token among the secrets; tells whether it could."""
    token = token_in(stored)
    if token is None:
        return True
    raw = token.encode("utf-8", "surrogatepass")
    if len(raw) < SHORTEST_TOKEN:
        return False
    secrets.add(raw)
    return True


_name_of = lru_cache(maxsize=64)(topic_name)


def stored_of(topic: LogicalTopic, record: Found, *, prefix: str) -> Stored:
    """Return a record as the checker reads it."""
    name = _name_of(topic, prefix=prefix)
    # Only workers forward; whoever else writes the header is found out by the bytes: see `requests_end`.
    forwarded = topic is LogicalTopic.REQUESTS and _is_passed_on(name, record)
    return Stored(
        name,
        record.partition,
        record.offset,
        record.timestamp_at,
        record.key,
        record.value,
        record.headers,
        0 if forwarded else None,
    )


def _is_passed_on(name: str, record: Found) -> bool:
    for header in (FORWARDED_FROM_HEADER, BROADCAST_FROM_HEADER):
        first = read_origin_header(record.headers, header)
        if first is not None and first.partition != record.partition:
            return first.topic == name
    return False
