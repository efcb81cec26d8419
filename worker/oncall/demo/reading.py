"""Reads what happened: the topics as a read_committed reader sees them, and the sandbox's ledger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from contracts.cloudevents import UnreadableEvent, read_event
from contracts.commands import VerdictRecorded, read_verdict
from contracts.dead_letters import FORWARDED_FROM_HEADER, InvalidLetter, LetterHeaders, read_origin_header
from contracts.states import Step, read_state
from contracts.topics import TOPICS, LogicalTopic
from contracts.wire import InvalidEvent
from worker.oncall.demo.history import CallSeen, Forwarded, History, StateSeen, TokenSeen
from worker.oncall.letters import keep_latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.oncall.cluster import Cluster, Found
    from worker.oncall.demo.expectations import Case
    from worker.oncall.demo.play import Played
    from worker.oncall.demo.stage import WorkerProcess
    from worker.sandbox.payment import Ledger

Read = TypeVar("Read")

_WRITTEN_BY_THE_WORKER: Final = (
    LogicalTopic.STATES,
    LogicalTopic.JOURNAL,
    LogicalTopic.DEAD_LETTERS,
    LogicalTopic.VERDICTS,
)


def state_of(found: Found) -> StateSeen | None:
    """Return the event that a record of the states topic carries, or `None` if it breaks the contract."""
    try:
        incoming = read_event(found.value, found.headers)
        event = read_state(incoming)
    except (UnreadableEvent, InvalidEvent):
        return None
    return StateSeen(partition=found.partition, offset=found.offset, event_id=incoming.id, event=event)


def verdict_of(found: Found) -> VerdictRecorded | None:
    """Return the verdict that a record carries, or `None` if it breaks the contract."""
    try:
        return read_verdict(read_event(found.value, found.headers))
    except (UnreadableEvent, InvalidEvent):
        return None


async def read_history(
    cluster: Cluster, plan: Sequence[Case], *, ledger: Ledger, worker: WorkerProcess, played: Played
) -> History:
    """Read all topics from their beginning to their end, and what the ledger says of each token."""
    written = _Written()
    tokens = {case.token.encode(): case.name for case in plan}
    leaks: set[str] = set()
    for topic in _WRITTEN_BY_THE_WORKER:
        async for batch in cluster.read(topic):
            for found in batch:
                written.take(topic, found)
                leaks |= {
                    f"{_place(topic, found)} (case {tokens[token]})"
                    for token in tokens
                    if _holds(found, token)
                }
    forwarded = [
        one
        async for batch in cluster.read(LogicalTopic.REQUESTS)
        for found in batch
        if (one := _forwarded(found)) is not None
    ]
    lines = worker.written()
    leaks |= {f"{worker.log} (case {name})" for token, name in tokens.items() if token in lines}
    return History(
        states=tuple(written.states),
        letters=written.letters(),
        verdicts=tuple(written.verdicts),
        forwarded=tuple(forwarded),
        tokens={case.name: _token(ledger, case.token) for case in plan},
        kill=played.kill,
        strangers=tuple(written.strangers),
        leaks=tuple(sorted(leaks)),
        exit_code=played.exit_code,
    )


@dataclass(slots=True)
class _Written:
    """The records of the topics that the worker writes, read as what they have to be."""

    states: list[StateSeen] = field(default_factory=list)
    verdicts: list[VerdictRecorded] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    _open: dict[tuple[int, bytes], Found] = field(default_factory=dict)

    def take(self, topic: LogicalTopic, found: Found) -> None:
        """Take one record."""
        match topic:
            case LogicalTopic.STATES:
                self._keep(self.states, state_of(found), topic, found)
            case LogicalTopic.VERDICTS:
                self._keep(self.verdicts, verdict_of(found), topic, found)
            case LogicalTopic.DEAD_LETTERS:
                keep_latest(self._open, [found])
            case _:
                pass  # the journal's form is nobody's business but the worker's

    def letters(self) -> dict[str, LetterHeaders]:
        """Return the open letters by key; one that cannot be read is a stranger."""
        letters = {}
        for found in self._open.values():
            try:
                letter = LetterHeaders.from_headers(found.headers)
            except InvalidLetter:
                self.strangers.append(_place(LogicalTopic.DEAD_LETTERS, found))
                continue
            letters[letter.key] = letter
        return letters

    def _keep(self, kept: list[Read], read: Read | None, topic: LogicalTopic, found: Found) -> None:
        if read is None:
            self.strangers.append(_place(topic, found))
        else:
            kept.append(read)


def _token(ledger: Ledger, token: str) -> TokenSeen:
    known = ledger.token(token)
    calls = []
    for call in ledger.calls(token=token):
        ended = ledger.ended(call.number)
        calls.append(
            CallSeen(
                step=Step(call.api or ""),
                received_at=call.received_at,
                ended_at=None if ended is None else ended.ended_at,
            )
        )
    return TokenSeen(
        calls=tuple(calls),
        revoked=not known.is_live,
        asked_after_revoke=known.asked_after_revoke,
        overlapping=known.overlapping,
    )


def _forwarded(found: Found) -> Forwarded | None:
    origin = read_origin_header(found.headers, FORWARDED_FROM_HEADER)
    if origin is None:
        return None
    event_id = dict(found.headers).get("ce_id", b"").decode(errors="replace")
    return Forwarded(event_id=event_id, partition=found.partition, origin=origin)


def _holds(found: Found, token: bytes) -> bool:
    return any(
        token in content
        for content in (found.key, found.value, *(value for _, value in found.headers))
        if content
    )


def _place(topic: LogicalTopic, found: Found) -> str:
    return f"{TOPICS[topic].name}/{found.partition}/{found.offset}"
