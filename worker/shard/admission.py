"""Takes requests in: forwards, recognises repetitions, joins, queues, parks what cannot be served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from contracts.cloudevents import UnreadableEvent, peek_binding_id, read_event
from contracts.dead_letters import FORWARDED_FROM_HEADER, read_origin_header
from contracts.origins import Origin
from contracts.requests import UnbindingRequested, read_request
from contracts.states import Reason, State, Step
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import InvalidEvent
from worker.ports import Write
from worker.saga.decide import admit
from worker.saga.inputs import Joined
from worker.saga.model import Kind, RequestRef, Saga, Target, TargetKind
from worker.saga.plan import Plan, PlanInvalid, Profile, plan_rebinding, plan_unbinding
from worker.shard import journal
from worker.shard.headers import kept_headers
from worker.shard.journal import Meta
from worker.shard.memory import Entry, Hot
from worker.shard.vault import VaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.cloudevents import IncomingEvent
    from contracts.requests import RebindingRequested
    from worker.ports import Headers, Record
    from worker.shard.driver import Driver
    from worker.shard.letters import Letters
    from worker.shard.memory import Lane, Loose, Memory
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault

JOINS_MOST: Final = 8
QUEUE_MOST: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRules:
    """What admission needs to know of this worker."""

    partition: int
    partitions: int
    profile: Profile
    record_bytes: int
    """Records with a larger value are not copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request as it was read, ready to be admitted."""

    event: IncomingEvent
    binding_id: str
    request: UnbindingRequested | RebindingRequested
    plan: Plan
    targets: tuple[Target, ...]
    identity: tuple[bytes, ...]
    meta: Meta
    value: bytes

    @property
    def ref(self) -> RequestRef:
        return RequestRef(self.event.id, self.identity[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An invalid request that is valid by now: its saga with steps, not yet in memory."""

    saga: Saga
    meta: Meta
    identity: bytes


class Admission:
    """Turns records into sagas. Each record ends in exactly one way, and the position moves past it."""

    def __init__(
        self,
        *,
        memory: Memory,
        driver: Driver,
        letters: Letters,
        vault: Vault,
        rules: AdmissionRules,
        fits: Callable[[Write], bool],
    ) -> None:
        self._memory = memory
        self._driver = driver
        self._letters = letters
        self._vault = vault
        self._rules = rules
        self._fits = fits

    def take(self, unit: Unit, record: Record) -> None:
        """Take one record of ``unbinding.requests`` in."""
        value = record.value
        if value is not None and len(value) > self._rules.record_bytes:
            message = f"the value has {len(value)} bytes, more than {self._rules.record_bytes} are not copied"
            self._letters.park(unit, record, Reason.TOO_LARGE, message, copied=False)
            return
        try:
            event = read_event(value, record.headers)
        except UnreadableEvent as error:
            self._letters.park(unit, record, Reason.UNREADABLE, str(error))
            return
        binding_id = peek_binding_id(event)
        if binding_id is None:
            self._letters.park(unit, record, Reason.INVALID, "bindingId must be text of 1 to 128 characters")
            return
        home = partition_of(binding_id, self._rules.partitions)
        if home != self._rules.partition:
            self._forward(unit, record, binding_id=binding_id, home=home)
            return
        self._admit(unit, event, binding_id=binding_id, meta=self._meta(record, event), value=value or b"")

    def _admit(
        self, unit: Unit, event: IncomingEvent, *, binding_id: str, meta: Meta, value: bytes
    ) -> Entry | None:
        """Admit a request, and return the saga that it opened, if it did."""
        try:
            asked = self._read(event, binding_id=binding_id, meta=meta, value=value)
        except (InvalidEvent, PlanInvalid, VaultError) as error:
            message = str(error)
            return self._park_invalid(
                unit, event, binding_id=binding_id, meta=meta, value=value, message=message
            )
        if self._is_repetition(unit, asked.identity, event):
            return None
        lane = self._memory.lane(binding_id)
        joined = self._joinable(lane, asked)
        if joined is not None:
            self._memory.answers(asked.identity[0], joined.key)
            happened = Joined(request=asked.ref, expires_at=asked.request.expires_at_ms)
            self._driver.happen(unit, joined, happened, causation_id=event.id)
            return None
        entry = self._open(unit, asked)
        if len(lane.queue) >= QUEUE_MOST:
            message = f"{QUEUE_MOST} requests of this binding are waiting already"
            self._driver.broke(unit, entry, reason=Reason.QUEUE_FULL, message=message)
            return entry
        lane.queue.append(entry.key)
        self._driver.give_turn(unit, binding_id)
        return entry

    # --- reading ----------------------------------------------------------------

    def _read(self, event: IncomingEvent, *, binding_id: str, meta: Meta, value: bytes) -> _Asked:
        """Validate, and plan the steps. Raises InvalidEvent, PlanInvalid, VaultError."""
        request = read_request(event)
        targets: tuple[Target, ...] = ()
        if isinstance(request, UnbindingRequested):
            request = self._vault.clear_token(request)
            plan = plan_unbinding(request, self._rules.profile)
            named = self._vault.targets(request)
            targets = tuple(self._canonical(named[kind].digests, kind) for kind in plan.targets)
            if request.access_token is not None:
                meta = replace(meta, fingerprint=self._vault.fingerprint(request.access_token))
        else:
            plan = plan_rebinding(self._rules.profile)
        return _Asked(
            event=event,
            binding_id=binding_id,
            request=request,
            plan=plan,
            targets=targets,
            identity=self._vault.identity(source=event.source, event_id=event.id, request=request),
            meta=meta,
            value=value,
        )

    def _canonical(self, digests: tuple[bytes, ...], kind: TargetKind) -> Target:
        """Name a target as it is known already, if it is: under an older key perhaps."""
        memory = self._memory
        for digest in digests[1:]:
            if memory.has_target(digest) or memory.dead_since(digest) is not None:
                return Target(kind, digest)
        return Target(kind, digests[0])

    def _meta(self, record: Record, event: IncomingEvent) -> Meta:
        return Meta(
            origin=self._first_origin(record),
            timestamp_at=record.timestamp_at,
            event_id=event.id,
            headers=kept_headers(record.headers, event),
        )

    def _first_origin(self, record: Record) -> Origin:
        """Return where the request was first: a forwarded record brings that along.

        The header is untrusted: only another partition of the same topic can have forwarded it here.
        """
        here = Origin(record.topic, record.partition, record.offset)
        first = read_origin_header(record.headers, FORWARDED_FROM_HEADER)
        if (
            first is None
            or first.topic != record.topic
            or first.partition == record.partition
            or first.partition >= self._rules.partitions
        ):
            return here
        return first

    # --- ways to end ------------------------------------------------------------

    def _is_repetition(self, unit: Unit, identity: tuple[bytes, ...], event: IncomingEvent) -> bool:
        entry = self._memory.by_request(identity)
        known = entry is not None or any(self._memory.seen.moment(digest) is not None for digest in identity)
        if known:
            unit.note(
                "record.ignored",
                request_id=event.id,
                saga_id=None if entry is None else entry.key,
                cause="a repetition",
            )
        return known

    def _joinable(self, lane: Lane, asked: _Asked) -> Entry | None:
        """Find the saga that serves all targets of this request and does not consult where it need not."""
        if not asked.targets:
            return None
        keys = lane.queue if lane.active is None else [lane.active, *lane.queue]
        for key in keys:
            entry = self._memory.entries[key]
            saga = entry.saga
            if (
                set(asked.targets) <= set(saga.targets)
                and (Step.CONSULT in asked.plan.steps or not saga.consults)
                and len(saga.requests) <= JOINS_MOST
                and not self._outlives(asked, entry)
            ):
                return entry
        return None

    def _outlives(self, asked: _Asked, entry: Entry) -> bool:
        """Tell whether a target that the saga has ended may have been bound again for this request."""
        requested_at = _requested_at(asked.request, asked.meta)
        ended = {digest for digest, _ in entry.dead}
        return any(
            target.digest in ended and not self._memory.known_dead(target, requested_at=requested_at)
            for target in asked.targets
        )

    def _forward(self, unit: Unit, record: Record, *, binding_id: str, home: int) -> None:
        """Send a record on to the partition of its binding, with its first origin, in this transaction.

        A record in the wrong partition has not been forwarded by us: such a header is forged.
        """
        origin = Origin(record.topic, record.partition, record.offset).text
        kept = tuple(pair for pair in record.headers if pair[0] != FORWARDED_FROM_HEADER)
        write = Write(
            topic=LogicalTopic.REQUESTS,
            key=binding_id.encode(),
            value=record.value,
            headers=(*kept, (FORWARDED_FROM_HEADER, origin.encode())),
            partition=home,
        )
        if not self._fits(write):
            message = f"it belongs to partition {home}, and is too large to be forwarded there"
            self._letters.park(unit, record, Reason.TOO_LARGE, message, copied=False)
            return
        unit.write(write)
        unit.note("record.forwarded", origin=origin, partition=home)

    def _open(self, unit: Unit, asked: _Asked) -> Entry:
        """Open a saga: journal, seal, and publish that it was requested."""
        saga = Saga(
            saga_id=saga_id_of(asked.event, asked.meta.origin, asked.identity[0]),
            binding_id=asked.binding_id,
            kind=Kind.UNBINDING if asked.targets else Kind.REBINDING,
            steps=asked.plan.steps,
            targets=asked.targets,
            requests=(asked.ref,),
            requested_at=_requested_at(asked.request, asked.meta),
            expires_at=asked.request.expires_at_ms,
        )
        return self._enter(
            unit, saga, meta=asked.meta, value=asked.value, request=asked.request, state=State.REQUESTED
        )

    def _enter(
        self,
        unit: Unit,
        saga: Saga,
        *,
        meta: Meta,
        value: bytes,
        request: UnbindingRequested | RebindingRequested | None,
        state: State,
    ) -> Entry:
        memory = self._memory
        entry = Entry(
            saga=saga,
            order=memory.next_order(),
            sealed=self._vault.seal(value, key=saga.saga_id),
            packed=journal.encode_meta(meta),
            meta=meta,
            hot=None if request is None else Hot(request),
        )
        memory.take_in(entry)
        unit.keep_request(key=entry.key, sealed=entry.sealed, packed=entry.packed)
        unit.touch(entry)
        if state is State.REQUESTED:
            admitted = admit(saga)
            entry.saga = admitted.saga
            unit.publish(entry.saga, admitted.transitions, meta=meta, causation_id=None)
        return entry

    def _park_invalid(
        self,
        unit: Unit,
        event: IncomingEvent,
        *,
        binding_id: str,
        meta: Meta,
        value: bytes,
        message: str,
    ) -> Entry | None:
        """Park a request whose ids could be read: its saga's only event says so; ``None`` if it was known."""
        identity = self._vault.identity(source=event.source, event_id=event.id, request=value)
        if self._is_repetition(unit, identity, event):
            return None
        saga = Saga(
            saga_id=saga_id_of(event, meta.origin, identity[0]),
            binding_id=binding_id,
            kind=Kind.UNBINDING,
            steps=(),
            targets=(),
            requests=(RequestRef(event.id, identity[0]),),
            requested_at=meta.timestamp_at,
        )
        entry = self._enter(unit, saga, meta=meta, value=value, request=None, state=State.PARKED)
        self._driver.broke(unit, entry, reason=Reason.INVALID, message=message)
        return entry

    # --- a letter read anew -------------------------------------------------------

    def read_again(self, unit: Unit, loose: Loose, *, value: bytes) -> bool:
        """Admit a letter without a saga after all, or park it again; tells whether it was admitted."""
        meta = journal.decode_meta(loose.packed)
        found = self._readable(value, meta.headers)
        if isinstance(found, str):
            record = replace(loose.record, replays=loose.record.replays + 1, message=found)
            self._letters.keep(unit, replace(loose, record=record), meta=meta)
            return False
        event, binding_id = found
        self._letters.resolve(unit, loose)
        meta = replace(meta, event_id=event.id, sha256=None)
        entry = self._admit(unit, event, binding_id=binding_id, meta=meta, value=value)
        if entry is not None:
            # Nobody knew its binding while it stood: links may have been offered, and it was not marked.
            entry.offered_since = True
        return True

    def would_cancel_agreement(self, loose: Loose, *, value: bytes) -> bool:
        """Tell whether a letter without a saga, read again now, would come to cancel an agreement.

        One that is known to be dead is not called for.
        """
        meta = journal.decode_meta(loose.packed)
        found = self._readable(value, meta.headers)
        if isinstance(found, str):
            return False
        event, binding_id = found
        try:
            asked = self._read(event, binding_id=binding_id, meta=meta, value=value)
        except (InvalidEvent, PlanInvalid, VaultError):
            return False
        requested_at = _requested_at(asked.request, meta)
        return any(
            target.kind is TargetKind.AGREEMENT
            and not self._memory.known_dead(target, requested_at=requested_at)
            for target in asked.targets
        )

    def _readable(self, value: bytes, headers: Headers) -> tuple[IncomingEvent, str] | str:
        try:
            event = read_event(value, headers)
        except UnreadableEvent as error:
            return str(error)
        binding_id = peek_binding_id(event)
        if binding_id is None:
            return "bindingId must be text of 1 to 128 characters"
        home = partition_of(binding_id, self._rules.partitions)
        if home != self._rules.partition:
            return f"it belongs to partition {home}: submit it again, and discard this letter"
        return event, binding_id

    def plan_again(self, entry: Entry, *, value: bytes, meta: Meta) -> Planned | str:
        """Plan the steps of an invalid request's saga, now that it may be valid; or say why it is not."""
        saga = entry.saga
        try:
            event = read_event(value, meta.headers)
            asked = self._read(event, binding_id=saga.binding_id, meta=meta, value=value)
        except (UnreadableEvent, InvalidEvent, PlanInvalid, VaultError) as error:
            return str(error)
        planned = replace(
            saga,
            requests=(asked.ref,),
            kind=Kind.UNBINDING if asked.targets else Kind.REBINDING,
            steps=asked.plan.steps,
            targets=asked.targets,
            requested_at=_requested_at(asked.request, meta),
            expires_at=asked.request.expires_at_ms,
        )
        return Planned(saga=planned, meta=asked.meta, identity=asked.identity[0])

    def take_plan(self, entry: Entry, planned: Planned) -> None:
        """Give an invalid request's saga the steps that were planned for it."""
        # Known by its bytes until now; from here on a repetition is one that wants the same.
        self._memory.renamed(entry, planned.identity)
        entry.saga = planned.saga
        entry.meta = planned.meta
        entry.packed = journal.encode_meta(planned.meta)
        self._memory.name_targets(entry)


def saga_id_of(event: IncomingEvent, origin: Origin, identity: bytes) -> str:
    """Return the saga's id: a hash of the request's source and id, of its first origin and of its targets.

    So a request that comes again after the remembering time has events of its own. The origin may come from
    a header, which anyone can write: the keyed digest of what is wanted keeps two requests apart even then.
    """
    text = f"{event.source}\n{event.id}\n{origin.text}\n{identity.hex()}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _requested_at(request: UnbindingRequested | RebindingRequested, meta: Meta) -> int:
    return request.requested_at_ms if isinstance(request, UnbindingRequested) else meta.timestamp_at
