"""Takes notices in: evidence from outside that a token or an agreement is dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from contracts.cloudevents import UnreadableEvent, event_headers, read_event
from contracts.dead_letters import BROADCAST_FROM_HEADER, FORWARDED_FROM_HEADER, read_origin_header
from contracts.notices import TOKEN_CANCELED, TokenCanceled, read_notice
from contracts.origins import Origin
from contracts.requests import SEALED_TOKEN_PREFIX
from contracts.states import Reason
from contracts.topics import LogicalTopic, partition_of
from contracts.wire import InvalidEvent
from worker.ports import Write
from worker.saga.model import Phase, Target, TargetKind
from worker.shard import lanes
from worker.shard.vault import VaultError, fingerprint_digest

if TYPE_CHECKING:
    from contracts.cloudevents import IncomingEvent
    from worker.ports import Record
    from worker.shard.admission import AdmissionRules
    from worker.shard.driver import Driver
    from worker.shard.letters import Letters
    from worker.shard.memory import Entry, Memory
    from worker.shard.unit import Unit
    from worker.shard.vault import Vault


@dataclass(frozen=True, slots=True)
class _Dead:
    kind: TargetKind
    digests: tuple[bytes, ...]


class Notices:
    """Applies evidence: to the sagas that have the target, or to those that will ask for it."""

    def __init__(
        self,
        *,
        memory: Memory,
        driver: Driver,
        letters: Letters,
        vault: Vault,
        rules: AdmissionRules,
    ) -> None:
        self._memory = memory
        self._driver = driver
        self._letters = letters
        self._vault = vault
        self._rules = rules

    def take(self, unit: Unit, record: Record) -> None:
        """Take one record of ``unbinding.notices`` in."""
        value = record.value
        if value is not None and len(value) > self._rules.record_bytes:
            self._letters.park(
                unit, record, Reason.TOO_LARGE, "the value is too large to be copied", copied=False
            )
            return
        try:
            event = read_event(value, record.headers)
            notice = self._clear(read_notice(event))
            named = self._named(notice)
        except UnreadableEvent as error:
            self._letters.park(unit, record, Reason.UNREADABLE, str(error))
            return
        except (InvalidEvent, VaultError) as error:
            self._letters.park(unit, record, Reason.INVALID, str(error))
            return
        if notice.binding_id is not None:
            home = partition_of(notice.binding_id, self._rules.partitions)
            if home != self._rules.partition:
                self._pass_on(unit, record, event, notice, partitions=(home,), header=FORWARDED_FROM_HEADER)
                return
        elif not self._was_broadcast(record):
            others = tuple(p for p in range(self._rules.partitions) if p != self._rules.partition)
            self._pass_on(unit, record, event, notice, partitions=others, header=BROADCAST_FROM_HEADER)
        self._apply(unit, named, at=min(notice.at_ms, unit.now_at), event_id=event.id)

    def _apply(self, unit: Unit, named: list[_Dead], *, at: int, event_id: str) -> None:
        for dead in named:
            owned = False
            owners = [(entry, digest) for digest in dead.digests for entry in self._memory.owners(digest)]
            announcer = self._announcer(dead, [entry for entry, _ in owners])
            # First the one that announces: another's end closes the letters that want nothing else.
            for entry, digest in sorted(owners, key=lambda owner: owner[0] is not announcer):
                saga = entry.saga
                if dead.kind is TargetKind.AGREEMENT and at < saga.requested_at:
                    # It speaks of an agreement that was ended and made anew before this request.
                    continue
                if saga.phase is not Phase.ENDED:
                    self._driver.died(
                        unit,
                        entry,
                        frozenset({Target(dead.kind, digest)}),
                        at=at,
                        causation_id=event_id,
                        announced=entry is not announcer,
                    )
                # One that ended without it (refused, lapsed, discarded) does not keep the evidence.
                owned = owned or any(known == digest for known, _ in entry.dead)
            if not owned:
                self._remember(unit, dead, at=at)

    def _announcer(self, dead: _Dead, owners: list[Entry]) -> Entry | None:
        """Choose who tells the hub of a token's end: of several sagas one.

        Nobody, where the token was known to be dead before: then it was told, or another owes it.
        """
        if dead.kind is not TargetKind.TOKEN:
            return None
        if any(self._memory.dead_since(digest) is not None for digest in dead.digests):
            return None
        return lanes.announcer(self._memory, owners)

    def _remember(self, unit: Unit, dead: _Dead, *, at: int) -> None:
        digest = dead.digests[0]
        known = self._memory.dead_since(digest)
        if known is not None and known >= at:
            return
        self._memory.note_dead(digest, at)
        self._memory.noticed[digest] = at
        unit.keep_dead(digest, at)

    def _named(self, notice: TokenCanceled) -> list[_Dead]:
        found: list[_Dead] = []
        if notice.access_token is not None:
            found.append(_Dead(TargetKind.TOKEN, self._vault.token_digests(notice.access_token)))
        elif notice.token_fingerprint is not None:
            found.append(_Dead(TargetKind.TOKEN, (fingerprint_digest(notice.token_fingerprint),)))
        if notice.auth_merchant_id is not None and notice.merchant_agreement_id is not None:
            digests = self._vault.agreement_digests(notice.auth_merchant_id, notice.merchant_agreement_id)
            found.append(_Dead(TargetKind.AGREEMENT, digests))
        return found

    def _clear(self, notice: TokenCanceled) -> TokenCanceled:
        token = notice.access_token
        if token is None or not token.startswith(SEALED_TOKEN_PREFIX):
            return notice
        return notice.model_copy(update={"access_token": self._vault.open_token(token)})

    def _was_broadcast(self, record: Record) -> bool:
        """Tell whether another partition's reader sent it here; such a header is untrusted."""
        first = read_origin_header(record.headers, BROADCAST_FROM_HEADER)
        return (
            first is not None
            and first.topic == record.topic
            and first.partition != record.partition
            and first.partition < self._rules.partitions
        )

    def _pass_on(
        self,
        unit: Unit,
        record: Record,
        event: IncomingEvent,
        notice: TokenCanceled,
        *,
        partitions: tuple[int, ...],
        header: str,
    ) -> None:
        """Write the notice to other partitions in this transaction, its token as a fingerprint only."""
        origin = Origin(record.topic, record.partition, record.offset).text
        data = notice.model_dump(mode="json", by_alias=True, exclude_none=True)
        token = data.pop("accessToken", None)
        if token is not None:
            data["tokenFingerprint"] = self._vault.fingerprint(notice.access_token or "")
        headers = (
            *event_headers(
                event_id=event.id,
                source=event.source,
                event_type=TOKEN_CANCELED,
                at=notice.at_ms,
                subject=notice.binding_id,
                traceparent=event.traceparent,
                tracestate=event.tracestate,
            ),
            (header, origin.encode()),
        )
        key = None if notice.binding_id is None else notice.binding_id.encode()
        value = orjson.dumps(data)
        unit.writes.extend(
            Write(topic=LogicalTopic.NOTICES, key=key, value=value, headers=headers, partition=partition)
            for partition in partitions
        )
        unit.note("record.forwarded", origin=origin, partitions=list(partitions))
