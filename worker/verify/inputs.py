"""Reads one committed record that others wrote: requests and notices, and the tokens in them."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

from contracts.cloudevents import peek_binding_id, read_event
from contracts.dead_letters import FORWARDED_FROM_HEADER, read_origin_header
from contracts.notices import read_notice
from contracts.requests import (
    SEALED_TOKEN_PREFIX,
    ActivatedVia,
    Initiator,
    UnbindingRequested,
    read_request,
)
from contracts.topics import partition_of
from contracts.wire import ContractError
from worker.verify.history import NoticeSeen, RequestSeen
from worker.verify.records import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.cloudevents import IncomingEvent
    from contracts.requests import RebindingRequested
    from worker.verify.records import Committed, Memo

_DIGEST_BYTES = 8


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


def request_of(
    stored: Committed,
    *,
    partitions: int,
    memo: Memo,
    consulted: Callable[[UnbindingRequested | RebindingRequested], bool],
) -> RequestSeen:
    """Read a record of the requests; one that is no request is one, too: it has to end in a letter."""
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
        origin=origin_of(stored),
        moment=stored.moment,
        partition_is_right=right,
        request_id=None if event is None else memo.text(event.id),
        source=None if event is None else memo.text(event.source),
        binding_id=None if binding_id is None else memo.text(binding_id),
        targets=frozenset() if request is None else targets_of(request),
        consulted=request is not None and consulted(request),
        requested_at=request.requested_at_ms if isinstance(request, UnbindingRequested) else 0,
        expires_at=None if request is None else request.expires_at_ms,
        forwarded_from=true_forward,
        digest=blake2b(stored.value or b"", digest_size=_DIGEST_BYTES).digest(),
        at=stored.timestamp_at,
    )


def notice_of(stored: Committed) -> NoticeSeen | None:
    """Read a notice; `None` for one that cannot be read: it proves nothing."""
    try:
        notice = read_notice(read_event(stored.value, stored.headers))
    except ContractError:
        return None
    targets = set()
    if notice.access_token is not None:
        targets.add(f"token:{notice.access_token}")
    if notice.auth_merchant_id is not None:
        targets.add(f"agreement:{notice.auth_merchant_id}/{notice.merchant_agreement_id}")
    return NoticeSeen(
        origin=origin_of(stored), at=notice.at_ms, binding_id=notice.binding_id, targets=frozenset(targets)
    )


def token_in(stored: Committed) -> str | None:
    """Return the access token in clear that a request or a notice has, be it as invalid as it may."""
    try:
        found = orjson.loads(stored.value or b"")
    except orjson.JSONDecodeError:
        return None
    for part in (found, found.get("data") if isinstance(found, dict) else None):
        if isinstance(part, dict):
            token = part.get("accessToken")
            if isinstance(token, str) and not token.startswith(SEALED_TOKEN_PREFIX):
                return token
    return None
