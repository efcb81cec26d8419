"""One unit of work: what one transaction will write, and what may start once it is committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from contracts.cloudevents import event_headers
from contracts.commands import VERDICT_RECORDED, VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.states import (
    BINDING_REBIND_OFFERED,
    BINDING_STATE_CHANGED,
    State,
    encode_rebind_offered,
    encode_state_changed,
    state_event_id,
)
from contracts.topics import LogicalTopic
from worker.ports import Write
from worker.saga.model import Phase
from worker.shard import journal
from worker.shard.faults import HandlingFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contracts.states import Reason
    from worker.ports import Headers
    from worker.saga.model import Saga, Transition
    from worker.saga.results import Call, Links
    from worker.sealing.seal import Sealed
    from worker.shard.journal import LetterRecord, LineRecord, Meta
    from worker.shard.memory import Entry, Loose, Memory

_LINKS: Final = (
    ("auth_url", "authUrl"),
    ("normal_url", "normalUrl"),
    ("scheme_url", "schemeUrl"),
    ("applink_url", "applinkUrl"),
)


@dataclass(slots=True)
class Fact:
    """Something to log or count once the unit is committed."""

    event: str
    fields: dict[str, object]


@dataclass(slots=True, kw_only=True)
class Unit:
    """Collects writes for one transaction. Nothing leaves before the shard commits it."""

    now_at: int
    source: str
    """The ``ce_source`` of our events."""
    writes: list[Write] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    """By saga: the call to start once this is committed, if the saga is still calling then."""
    facts: list[Fact] = field(default_factory=list)
    moved: bool = False
    """Whether the position moved."""
    volume: int = 0
    """Bytes of the values so far, about."""
    told: list[State] = field(default_factory=list)
    """The states that it publishes: to be counted once it is committed."""
    resolved: int = 0
    """Dead letters that it removes."""
    settled: list[str] = field(default_factory=list)
    """Inputs that failed before, and are parked in this unit."""
    _dirty: dict[str, Entry] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.writes or self._dirty or self.moved)

    @property
    def size(self) -> int:
        """How many records the transaction has so far, about."""
        return len(self.writes) + len(self._dirty)

    def touch(self, entry: Entry) -> None:
        """Write the saga's state once, as it is at the end of the unit."""
        self._dirty[entry.key] = entry

    def forget(self, entry: Entry) -> None:
        """Write no state for a saga after all: a block took it over."""
        self._dirty.pop(entry.key, None)

    def write(self, write: Write) -> None:
        """Add a record."""
        self.writes.append(write)
        self.volume += 0 if write.value is None else len(write.value)

    def note(self, event: str, **fields: object) -> None:
        """Keep a fact for the log."""
        self.facts.append(Fact(event, fields))

    def seal(self, memory: Memory) -> list[Write]:
        """Add the states and the position, and return all writes. Raises HandlingFailed."""
        for entry in self._dirty.values():
            record = journal.StateRecord(
                saga=entry.saga,
                order=entry.order,
                dead=entry.dead,
                ended_at=entry.ended_at,
                offered_since=entry.offered_since,
                extra=entry.extra,
            )
            try:
                value = journal.encode_state(record)
            except TypeError as error:  # orjson's error for what JSON cannot say
                raise HandlingFailed(entry.key, error) from error
            self._journal(f"{journal.STATE}{entry.key}".encode(), value)
        self._dirty = {}
        if self.moved and memory.position is not None:
            position = journal.PositionRecord(
                offsets=memory.position,
                fingerprint_keys=frozenset(memory.fingerprint_keys),
                extra=memory.position_extra,
            )
            self._journal(journal.POSITION, journal.encode_position(position))
        return self.writes

    # --- journal ------------------------------------------------------------

    def keep_request(self, *, key: str, sealed: Sealed | None, packed: bytes) -> None:
        """Write the sealed original of a saga or a letter."""
        value = b"" if sealed is None else sealed.value
        headers = journal.request_headers(sealed=sealed, meta=packed)
        self._journal(f"{journal.REQUEST}{key}".encode(), value, headers)

    def drop_request(self, key: str) -> None:
        """Remove the sealed original."""
        self._journal(f"{journal.REQUEST}{key}".encode(), None)

    def drop_state(self, key: str) -> None:
        """Remove the state of an ended saga or a resolved letter."""
        self._journal(f"{journal.STATE}{key}".encode(), None)

    def keep_letter(self, key: str, record: LetterRecord) -> None:
        """Write the state of a letter without a saga."""
        self._journal(f"{journal.STATE}{key}".encode(), journal.encode_letter(record))

    def keep_line(self, name: str, record: LineRecord | None) -> None:
        """Write a stopped line, or remove one that is open again."""
        value = None if record is None else journal.encode_line(record)
        self._journal(f"{journal.LINE}{name}".encode(), value)

    def keep_dead(self, digest: bytes, at: int | None) -> None:
        """Write a target that a notice has shown to be dead, or remove it."""
        value = None if at is None else journal.encode_dead(at)
        self._journal(f"{journal.DEAD}{digest.hex()}".encode(), value)

    def keep_block(self, key: str, block: bytes | None) -> None:
        """Write a block of what is remembered, or remove one."""
        self._journal(key.encode(), block)

    def _journal(self, key: bytes, value: bytes | None, headers: Headers = ()) -> None:
        self.write(Write(topic=LogicalTopic.JOURNAL, key=key, value=value, headers=headers))

    # --- what others see ----------------------------------------------------

    def publish(
        self, saga: Saga, transitions: Sequence[Transition], *, meta: Meta, causation_id: str | None
    ) -> None:
        """Write one event per transition."""
        traces = dict(meta.headers)
        traceparent, tracestate = _text(traces.get("traceparent")), _text(traces.get("tracestate"))
        key = saga.binding_id.encode()
        for transition in transitions:
            self.told.append(transition.state)
            offered = transition.state is State.OFFERED
            value = (
                _offered(saga, transition, at=self.now_at)
                if offered
                else _changed(saga, transition, at=self.now_at, fingerprint=meta.fingerprint)
            )
            headers = event_headers(
                event_id=state_event_id(saga.saga_id, transition.sequence),
                source=self.source,
                event_type=BINDING_REBIND_OFFERED if offered else BINDING_STATE_CHANGED,
                at=self.now_at,
                subject=saga.binding_id,
                correlation_id=saga.saga_id,
                causation_id=causation_id or meta.event_id or None,
                traceparent=traceparent,
                tracestate=tracestate,
            )
            self.writes.append(
                Write(
                    topic=LogicalTopic.STATES,
                    key=key,
                    value=value,
                    headers=tuple(headers),
                )
            )

    def write_letter(self, entry: Entry, *, meta: Meta, transition: Transition, message: str | None) -> None:
        """Write the dead letter of a parked saga."""
        saga = entry.saga
        if saga.phase is not Phase.PARKED or saga.reason is None:
            raise ValueError(f"saga {saga.saga_id} is {saga.phase}: only a parked one has a letter")
        self._letter(
            LetterHeaders(
                reason=saga.reason,
                sequence=transition.sequence,
                origin=meta.origin,
                origin_timestamp=meta.timestamp_at,
                origin_sha256=meta.sha256,
                first_parked_at=saga.first_parked_at or self.now_at,
                parked_at=self.now_at,
                message=message or "",
                attempts=saga.attempts,
                replays=saga.replays,
                saga_id=saga.saga_id,
                binding_id=saga.binding_id,
                request_id=saga.requests[0].id,
                joined_request_ids=tuple(ref.id for ref in saga.requests[1:]),
                step=transition.step,
                outcome=transition.outcome,
                result_code=transition.code,
                sealed_with=None if entry.sealed is None else entry.sealed.key_id,
                original=meta.headers,
            ),
            entry.sealed,
        )

    def write_loose_letter(self, loose: Loose, *, meta: Meta) -> None:
        """Write the dead letter of a record without a saga."""
        record = loose.record
        self._letter(
            LetterHeaders(
                reason=record.reason,
                sequence=record.replays,
                origin=meta.origin,
                origin_timestamp=meta.timestamp_at,
                origin_sha256=meta.sha256,
                first_parked_at=record.first_parked_at,
                parked_at=self.now_at,
                message=record.message,
                replays=record.replays,
                sealed_with=None if loose.sealed is None else loose.sealed.key_id,
                original=meta.headers,
            ),
            loose.sealed,
        )

    def _letter(self, headers: LetterHeaders, sealed: Sealed | None) -> None:
        self.write(
            Write(
                topic=LogicalTopic.DEAD_LETTERS,
                key=headers.key.encode(),
                # A value that was not copied is empty, not absent: null would remove the letter.
                value=b"" if sealed is None else sealed.value,
                headers=tuple(headers.to_headers()),
            )
        )

    def resolve_letter(self, key: str) -> None:
        """Remove a dead letter."""
        self.resolved += 1
        self.writes.append(Write(topic=LogicalTopic.DEAD_LETTERS, key=key.encode(), value=None))

    def record_verdict(self, verdict: VerdictRecorded, *, event_id: str, causation_id: str | None) -> None:
        """Write how a command ended."""
        headers = event_headers(
            event_id=event_id,
            source=self.source,
            event_type=VERDICT_RECORDED,
            at=self.now_at,
            subject=verdict.binding_id,
            correlation_id=verdict.saga_id,
            causation_id=causation_id,
        )
        self.writes.append(
            Write(
                topic=LogicalTopic.VERDICTS,
                key=verdict.letter.encode(),
                value=verdict.to_json(),
                headers=tuple(headers),
            )
        )

    def park_note(self, entry: Entry, reason: Reason, message: str | None) -> None:
        """Keep the fact that a saga was parked."""
        self.note(
            "saga.parked",
            saga_id=entry.key,
            binding_id=entry.saga.binding_id,
            reason=str(reason),
            step=entry.saga.step,
            cause=message,
        )


def _changed(saga: Saga, transition: Transition, *, at: int, fingerprint: str | None) -> bytes:
    return encode_state_changed(
        binding_id=saga.binding_id,
        saga_id=saga.saga_id,
        request_ids=[ref.id for ref in saga.requests],
        sequence=transition.sequence,
        state=transition.state,
        at=at,
        done=transition.done,
        step=transition.step,
        outcome=transition.outcome,
        result_code=transition.code,
        result_message=transition.message,
        attempts=transition.attempts,
        next_attempt_at=transition.next_attempt_at,
        refuse_reason=transition.refuse_reason,
        reason=transition.reason,
        debits=transition.debits,
        evidence=transition.evidence,
        token_fingerprint=fingerprint,
    )


def _offered(saga: Saga, transition: Transition, *, at: int) -> bytes:
    return encode_rebind_offered(
        binding_id=saga.binding_id,
        saga_id=saga.saga_id,
        request_ids=[ref.id for ref in saga.requests],
        sequence=transition.sequence,
        at=at,
        links=_links(transition.links),
        done=transition.done,
        outcome=transition.outcome,
        result_code=transition.code,
        result_message=transition.message,
        attempts=transition.attempts,
    )


def _links(links: Links | None) -> dict[str, str]:
    found = ((name, getattr(links, field_name)) for field_name, name in _LINKS)
    return {name: link for name, link in found if link is not None}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("ascii", "replace")
