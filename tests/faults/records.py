"""Single records that others send to a worker: a request, a notice, a hold and its release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from contracts.cloudevents import event_headers
from contracts.commands import HOLD_PLACED
from contracts.notices import TOKEN_CANCELED
from contracts.topics import LogicalTopic
from contracts.wire import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One record to send, `after_ms` from the beginning."""

    after_ms: int
    partition: int
    key: bytes | None
    value: bytes | None
    """`None`: a tombstone, which releases a hold."""
    headers: tuple[tuple[str, bytes], ...]
    topic: LogicalTopic = LogicalTopic.REQUESTS


def upstream_headers(event_id: str, *, event_type: str, at: int) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of an event that upstream sends."""
    return tuple(event_headers(event_id=event_id, source="/upstream", event_type=event_type, at=at))


def notice(
    notice_id: str, *, token: str, binding_id: str | None, partition: int, at: int, after_ms: int
) -> Planned:
    """Return the notice that a token was canceled; without a binding it goes to every shard."""
    data = {"noticeId": notice_id, "at": rfc3339(at), "accessToken": token}
    if binding_id is not None:
        data["bindingId"] = binding_id
    return Planned(
        after_ms=after_ms,
        partition=partition,
        key=None if binding_id is None else binding_id.encode(),
        value=orjson.dumps(data),
        headers=upstream_headers(notice_id, event_type=TOKEN_CANCELED, at=at),
        topic=LogicalTopic.NOTICES,
    )


def hold(hold_id: str, *, scope: Mapping[str, Any], until: int, at: int, after_ms: int) -> Planned:
    """Return a hold that ends by itself at `until` (ms since the Unix epoch)."""
    data = {"scope": scope, "until": rfc3339(until), "by": "soak", "why": "a hold from the load"}
    return Planned(
        after_ms=after_ms,
        partition=0,
        key=hold_id.encode(),
        value=orjson.dumps(data),
        headers=upstream_headers(hold_id, event_type=HOLD_PLACED, at=at),
        topic=LogicalTopic.HOLDS,
    )


def release(hold_id: str, *, after_ms: int) -> Planned:
    """Return the tombstone that releases a hold."""
    return Planned(
        after_ms=after_ms,
        partition=0,
        key=hold_id.encode(),
        value=None,
        headers=(),
        topic=LogicalTopic.HOLDS,
    )
