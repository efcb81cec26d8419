"""What has become of a transactional id's last transaction: asked of its coordinator (KIP-664)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import ClassVar, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from typing_extensions import override

NOTHING_TO_TELL: Final = frozenset({53, 105})
"""Error codes of a coordinator that has never heard of an id, or may not tell; a fence says that better."""


class Fate(Enum):
    """What has become of a transaction, as its coordinator knows it."""

    COMMITTED = "committed"
    ABORTED = "aborted"


_OPEN: Final = "Ongoing"
_FATES: Final = {
    "PrepareCommit": Fate.COMMITTED,
    "CompleteCommit": Fate.COMMITTED,
    # A new producer epoch aborts what is open.
    _OPEN: Fate.ABORTED,
    "PrepareAbort": Fate.ABORTED,
    "PrepareEpochFence": Fate.ABORTED,
    "CompleteAbort": Fate.ABORTED,
}
_EPOCHS_OF_AN_ABORT: Final = 2
"""A fence that aborts what is open takes one epoch for the abort and one for the new producer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTransaction:
    """What a coordinator knew of an id's last transaction, before the id was fenced."""

    fate: Fate
    was_open: bool
    producer_id: int
    producer_epoch: int

    def holds_for(self, *, producer_id: int, producer_epoch: int) -> bool:
        """Tell whether this is true of the producer that fenced: nobody ended it otherwise meanwhile."""
        if producer_id != self.producer_id:
            return False
        return not self.was_open or producer_epoch == self.producer_epoch + _EPOCHS_OF_AN_ABORT

    def settled(self) -> LastTransaction:
        """Return the same, as it is known for certain once the fence has succeeded."""
        return replace(self, was_open=False)


class DescribeTransactionsResponse_v0(Response):  # noqa: N801 - named as aiokafka names its own
    """What the coordinator knows of transactional ids."""

    API_KEY = 65
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "transactions",
            CompactArray(
                ("error_code", Int16),
                ("transactional_id", CompactString("utf-8")),
                ("state", CompactString("utf-8")),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                (
                    "topics",
                    CompactArray(
                        ("topic", CompactString("utf-8")),
                        ("partitions", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeTransactionsRequest_v0(RequestStruct):  # noqa: N801 - as above
    """Ask the coordinator of transactional ids what it knows of them."""

    FLEXIBLE_VERSION = True
    API_KEY = 65
    API_VERSION = 0
    RESPONSE_TYPE = DescribeTransactionsResponse_v0
    SCHEMA = Schema(("transactional_ids", CompactArray(CompactString("utf-8"))), ("tags", TaggedFields))


class DescribeTransactionsRequest(Request[DescribeTransactionsRequest_v0]):
    """Ask what has become of a transactional id's last transaction."""

    API_KEY: ClassVar[int] = 65

    def __init__(self, transactional_id: str) -> None:
        self._transactional_id = transactional_id

    @override
    def build(
        self, request_struct_class: type[DescribeTransactionsRequest_v0]
    ) -> DescribeTransactionsRequest_v0:
        """Return the request in the version that the broker speaks."""
        return request_struct_class([self._transactional_id], {})


def last_transaction(*, state: str, producer_id: int, producer_epoch: int) -> LastTransaction | None:
    """Return what a coordinator's answer says of the last transaction; ``None``: nothing."""
    fate = _FATES.get(state)
    if fate is None:
        return None
    return LastTransaction(
        fate=fate, was_open=state == _OPEN, producer_id=producer_id, producer_epoch=producer_epoch
    )
