"""Bad notices of every kind, each with the letter that it must leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.cloudevents import event_headers
from contracts.notices import TOKEN_CANCELED
from contracts.states import Reason
from contracts.wire import rfc3339
from tests.faults.inputs.batches import RawRecord
from tests.faults.inputs.drafts import SOURCE, each

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True, kw_only=True)
class NoticeDraft:
    """A good notice of a dead token, about to be spoiled."""

    at: int
    data: dict[str, Any]
    headers: list[tuple[bytes, bytes | None]]
    change: Callable[[bytes], bytes | None] = bytes

    def header(self, name: str, content: bytes) -> None:
        """Set a header, or add one."""
        self.headers = [pair for pair in self.headers if pair[0] != name.encode()]
        self.headers.append((name.encode(), content))

    def value(self, content: bytes | None) -> None:
        """Have these bytes as the value."""
        self.change = lambda _value: content

    def record(self) -> RawRecord:
        """Return the record, without a key."""
        return RawRecord(value=self.change(orjson.dumps(self.data)), headers=tuple(self.headers), at=self.at)


def draft_notice(number: int, *, token: str, binding_id: str | None, at: int) -> NoticeDraft:
    """Return a good notice that this token is dead."""
    headers = event_headers(event_id=f"notice-{number}", source=SOURCE, event_type=TOKEN_CANCELED, at=at)
    data = {"noticeId": f"notice-{number}", "at": rfc3339(at), "accessToken": token}
    return NoticeDraft(
        at=at,
        data=data if binding_id is None else data | {"bindingId": binding_id},
        headers=[(name.encode(), content) for name, content in headers],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BadNotice:
    """One bad notice; its letter has this reason and says this."""

    name: str
    spoil: Callable[[NoticeDraft], object]
    reason: Reason
    says: str


def _set(**members: Any) -> Callable[[NoticeDraft], object]:
    return lambda draft: draft.data.update(members)


def _unreadable(name: str, spoil: Callable[[NoticeDraft], object], says: str) -> BadNotice:
    return BadNotice(name=name, spoil=spoil, reason=Reason.UNREADABLE, says=says)


def _invalid(name: str, spoil: Callable[[NoticeDraft], object], says: str) -> BadNotice:
    return BadNotice(name=name, spoil=spoil, reason=Reason.INVALID, says=says)


BAD_NOTICES: Final = (
    _unreadable("null value", lambda d: d.value(None), "the value is null"),
    _unreadable(
        "empty record",
        each(lambda d: d.headers.clear(), lambda d: d.value(b"")),
        "ce_specversion must be 1.0",
    ),
    _unreadable("not JSON", lambda d: d.value(b"hello"), "the value is not JSON"),
    _unreadable("not UTF-8", lambda d: d.value(b'{"\xff":1}'), "the value is not UTF-8"),
    _unreadable(
        "100,000 arrays in each other",
        lambda d: d.value(b"[" * 100_000 + b"]" * 100_000),
        "the value is not JSON",
    ),
    _unreadable(
        "attribute that is not UTF-8", lambda d: d.header("ce_id", b"\xff"), "header ce_id is not UTF-8"
    ),
    BadNotice(
        name="value of 1 MB",
        spoil=_set(note="x" * 1_000_000),
        reason=Reason.TOO_LARGE,
        says="too large to be copied",
    ),
    _invalid(
        "event of another type",
        lambda d: d.header("ce_type", b"unbinding.requested.v1"),
        "ce_type must be token.canceled.v1",
    ),
    _invalid("number for the token", _set(accessToken=7), "accessToken must be text"),
    _invalid("number for the binding", _set(bindingId=7), "bindingId must be text"),
    _invalid("no target", lambda d: d.data.pop("accessToken"), "one of accessToken"),
    _invalid("half an agreement", _set(authMerchantId="m"), "only go together"),
    _invalid("moment of the year 9999", _set(at="9999-12-31T23:59:59Z"), "at must be a moment"),
    _invalid("token that was never sealed", _set(accessToken="sealed:AAAA"), "accessToken"),
)
