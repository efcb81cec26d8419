"""Unseals the request of a saga that moves, and keeps it with the entry until that cools.

RequestGone    the journal has a saga and no longer its request
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.cloudevents import read_event
from contracts.requests import UnbindingRequested, read_request
from worker.shard import journal
from worker.shard.memory import Hot

if TYPE_CHECKING:
    from contracts.requests import RebindingRequested
    from worker.shard.journal import Meta
    from worker.shard.memory import Entry
    from worker.shard.vault import Vault


class RequestGone(Exception):
    """The journal has a saga and no longer its request: it cannot be called for."""


def request_of(entry: Entry, vault: Vault) -> UnbindingRequested | RebindingRequested:
    """Return the saga's request, unsealed if the entry was cold.

    Raises RequestGone, VaultError and ContractError.
    """
    if entry.hot is None:
        if entry.sealed is None:
            raise RequestGone("its request is not in the journal any more")
        value = vault.unseal(entry.sealed, key=entry.key)
        request = read_request(read_event(value, meta_of(entry).headers))
        if isinstance(request, UnbindingRequested):
            request = vault.clear_token(request)
        entry.hot = Hot(request)
    return entry.hot.request


def meta_of(entry: Entry) -> Meta:
    """Return what is known of the saga's request beside its value."""
    if entry.meta is None:
        entry.meta = journal.decode_meta(entry.packed)
    return entry.meta
