"""Reads the committed records of all topics, as any outsider sees them, into a history of plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contracts.cloudevents import UnreadableEvent, peek_binding_id, read_event
from contracts.commands import CommandKind, Ruling, read_verdict
from contracts.dead_letters import FORWARDED_FROM_HEADER, LetterHeaders, read_origin_header
from contracts.origins import Origin
from contracts.requests import ActivatedVia, Initiator, UnbindingRequested, read_request
from contracts.states import BindingStateChanged, read_state
from contracts.topics import LogicalTopic, partition_of, topic_name
from contracts.wire import ContractError
from worker.verify.history import (
    CommandSeen,
    History,
    LetterSeen,
    RequestSeen,
    StateSeen,
    VerdictSeen,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from contracts.cloudevents import IncomingEvent
    from contracts.requests import RebindingRequested
    from worker.verify.history import Attempt


class Committed(Protocol):
    """One committed record."""

    @property
    def topic(self) -> str:
        """The topic's name, without a prefix."""
        ...

    @property
    def partition(self) -> int:
        """The partition's number."""
        ...

    @property
    def offset(self) -> int:
        """The offset in the partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """The key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The value; `None` for a tombstone."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers, in order."""
        ...

    @property
    def moment(self) -> int:
        """A number that grows: from this moment on a read_committed reader may see the record."""
        ...

    @property
    def transaction_number(self) -> int | None:
        """The transaction that wrote it; `None`: none, or not known."""
        ...


class Records(Protocol):
    """All committed records of a cluster, compacted or not."""

    def archive(self, topic: str, partition: int) -> Sequence[Committed]:
        """Return the records of a partition, in order."""
        ...

    def written(self) -> Iterable[Committed]:
        """Return each record that the worker wrote itself."""
        ...


def read_history(
    records: Records,
    *,
    partitions: int,
    attempts: Iterable[Attempt] = (),
    secrets: Iterable[bytes] = (),
    at_rest: bool = True,
    with_bytes: bool = True,
) -> History:
    """Return what a read_committed reader has seen of all topics since the beginning, compacted or not."""

    def each(topic: LogicalTopic) -> Iterator[Committed]:
        for partition in range(partitions):
            yield from records.archive(topic_name(topic), partition)

    return History(
        requests=tuple(_request(stored, partitions) for stored in each(LogicalTopic.REQUESTS)),
        states=tuple(_state(stored) for stored in each(LogicalTopic.STATES)),
        letters=tuple(_letter(stored) for stored in each(LogicalTopic.DEAD_LETTERS)),
        commands=tuple(_command(stored) for stored in each(LogicalTopic.COMMANDS)),
        verdicts=tuple(_verdict(stored) for stored in each(LogicalTopic.VERDICTS)),
        attempts=tuple(attempts),
        written=tuple(_written(records)) if with_bytes else (),
        secrets=frozenset(secrets),
        at_rest=at_rest,
    )


def targets_of(request: UnbindingRequested | RebindingRequested) -> frozenset[str]:
    """Name what a request wants dead; an agreement counts as the contract says, by where it was activated."""
    if not isinstance(request, UnbindingRequested):
        return frozenset()
    found = set()
    if request.access_token is not None:
        found.add(f"token:{request.access_token}")
    agreement = request.agreement
    if agreement is not None and (
        request.initiator is Initiator.MERCHANT or agreement.activated_via is ActivatedVia.BILLS_AND_UTILITIES
    ):
        found.add(f"agreement:{agreement.auth_merchant_id}/{agreement.merchant_agreement_id}")
    if request.merchant_account is not None:
        found.add(f"account:{request.merchant_account.account_id}")
    return frozenset(found)


def is_consulted(request: UnbindingRequested | RebindingRequested) -> bool:
    """Say whether a request needs permission (profile platform)."""
    return (
        isinstance(request, UnbindingRequested)
        and request.access_token is not None
        and not (
            request.initiator is Initiator.MERCHANT
            and request.psp_id is not None
            and request.acquirer_id is not None
        )
    )


def _origin(stored: Committed) -> str:
    return Origin(stored.topic, stored.partition, stored.offset).text


def _request(stored: Committed, partitions: int) -> RequestSeen:
    forwarded = read_origin_header(stored.headers, FORWARDED_FROM_HEADER)
    # What upstream wrote itself is forged: only the worker forwards, and only in transactions.
    true_forward = forwarded.text if forwarded is not None and stored.transaction_number is not None else None
    event: IncomingEvent | None = None
    request: UnbindingRequested | RebindingRequested | None = None
    try:
        event = read_event(stored.value, stored.headers)
        request = read_request(event)
    except ContractError:
        pass  # it stays None: the checker then looks for a letter
    binding_id = None if event is None else peek_binding_id(event)
    right = binding_id is None or partition_of(binding_id, partitions) == stored.partition
    return RequestSeen(
        origin=_origin(stored),
        moment=stored.moment,
        partition_is_right=right,
        request_id=None if event is None else event.id,
        source=None if event is None else event.source,
        binding_id=binding_id,
        targets=frozenset() if request is None else targets_of(request),
        consulted=request is not None and is_consulted(request),
        requested_at=request.requested_at_ms if isinstance(request, UnbindingRequested) else 0,
        expires_at=None if request is None else request.expires_at_ms,
        forwarded_from=true_forward,
    )


def _state(stored: Committed) -> StateSeen:
    event = read_event(stored.value, stored.headers)
    changed = read_state(event)
    change = changed if isinstance(changed, BindingStateChanged) else None
    return StateSeen(
        partition=stored.partition,
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        event_id=event.id,
        saga_id=changed.saga_id,
        binding_id=changed.binding_id,
        request_ids=changed.request_ids,
        sequence=changed.sequence,
        state=changed.state.value,
        done=tuple(step.value for step in changed.done),
        step=None if changed.step is None else changed.step.value,
        next_attempt_at=None if change is None else change.next_attempt_at_ms,
        reason=None if change is None or change.reason is None else change.reason.value,
        evidence=None if change is None or change.evidence is None else change.evidence.value,
        at=changed.at_ms,
    )


def _letter(stored: Committed) -> LetterSeen:
    key = (stored.key or b"").decode()
    if stored.value is None:
        return LetterSeen(
            partition=stored.partition,
            offset=stored.offset,
            moment=stored.moment,
            transaction=stored.transaction_number,
            key=key,
            stands=False,
        )
    letter = LetterHeaders.from_headers(stored.headers)
    return LetterSeen(
        partition=stored.partition,
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        key=key,
        stands=True,
        saga_id=letter.saga_id,
        origin=letter.origin.text,
        sequence=letter.sequence,
    )


def _command(stored: Committed) -> CommandSeen:
    try:
        event = read_event(stored.value, stored.headers)
    except UnreadableEvent:
        return CommandSeen(origin=_origin(stored), command_id=None)
    letter = event.data.get("letter")
    return CommandSeen(
        origin=_origin(stored),
        command_id=event.id,
        replay=event.type.startswith("replay"),
        letter=letter if isinstance(letter, str) else None,
    )


def _verdict(stored: Committed) -> VerdictSeen:
    verdict = read_verdict(read_event(stored.value, stored.headers))
    return VerdictSeen(
        offset=stored.offset,
        moment=stored.moment,
        transaction=stored.transaction_number,
        command=verdict.command_id or verdict.letter,
        applied=verdict.ruling is Ruling.APPLIED,
        replay=verdict.command is CommandKind.REPLAY,
        letter=verdict.letter,
    )


def _written(records: Records) -> Iterator[Written]:
    requests = topic_name(LogicalTopic.REQUESTS)
    for stored in records.written():
        # A rerouted request is the upstream's own bytes.
        if stored.transaction_number is not None and stored.topic != requests:
            headers = b"\n".join(name.encode() + b"=" + content for name, content in stored.headers)
            content = b"\n".join((stored.key or b"", stored.value or b"", headers))
            yield Written(origin=_origin(stored), content=content)
