"""Bad requests of every kind, each with the end that it must come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from contracts.states import Reason
from tests.faults.inputs.batches import CODECS
from tests.faults.inputs.drafts import each

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.inputs.drafts import Draft

COPIED: Final = 256 * 1024
"""`limits.record_bytes` of the stage's workers: larger values are not copied."""
LARGEST: Final = 12_000_000
"""What the stage's broker takes."""
YEAR_9999_AT: Final = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Unbound:
    """It is served like any other."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Its ids can be read: a saga is parked, and its letter says why."""

    reason: Reason
    says: str


@dataclass(frozen=True, slots=True)
class Lettered:
    """A letter stands under its origin, and says why."""

    reason: Reason
    says: str


End = Unbound | Parked | Lettered


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRequest:
    """One bad request. `astray`: it is sent into a partition that is not its binding's."""

    name: str
    spoil: Callable[[Draft], object]
    end: End
    compression: str = "none"
    astray: bool = False


UNBOUND: Final = Unbound()


def _unreadable(says: str) -> Lettered:
    return Lettered(Reason.UNREADABLE, says)


def _invalid(says: str) -> Parked:
    return Parked(Reason.INVALID, says)


def _too_large(says: str) -> Lettered:
    return Lettered(Reason.TOO_LARGE, says)


def _pad(draft: Draft, size: int) -> None:
    """Fill the value up to this size, with a member that means nothing."""
    draft.data["note"] = ""
    draft.data["note"] = "x" * (size - len(orjson.dumps(draft.data)))


def _splice(draft: Draft, member: bytes) -> None:
    """Add a member to the value, byte for byte."""
    draft.edit(lambda value: value[:-1] + b"," + member + b"}")


def _many(draft: Draft, name: str, count: int) -> None:
    draft.headers += [(f"{name}{number}".encode(), b"v") for number in range(count)]


def _without(draft: Draft, name: str) -> None:
    draft.headers = [pair for pair in draft.headers if pair[0] != name.encode()]


def _with_key(key: bytes | None) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        draft.key = key

    return spoil


def _with_at(at: int) -> Callable[[Draft], None]:
    def spoil(draft: Draft) -> None:
        draft.at = at

    return spoil


def _set(**members: Any) -> Callable[[Draft], object]:
    return lambda draft: draft.data.update(members)


def _forged(name: str, content: str) -> Callable[[Draft], object]:
    return lambda draft: draft.header(name, content.format(topic=draft.topic, here=draft.partition).encode())


SIZES: Final = (
    BadRequest(name="largest value that is copied", spoil=lambda d: _pad(d, COPIED), end=UNBOUND),
    BadRequest(
        name="one byte more than is copied",
        spoil=lambda d: _pad(d, COPIED + 1),
        end=_too_large(f"the value has {COPIED + 1} bytes, more than {COPIED} are not copied"),
    ),
    BadRequest(
        name="value of 1 MB",
        spoil=lambda d: _pad(d, 1_000_000),
        end=_too_large("the value has 1000000 bytes"),
    ),
    BadRequest(
        name="10 MB of whitespace",
        spoil=lambda d: d.edit(lambda value: b" " * 10_000_000 + value),
        end=_too_large("more than 262144 are not copied"),
    ),
    BadRequest(
        name="32 MB that travel as 32 kB",
        spoil=lambda d: d.edit(lambda value: b" " * 32_000_000 + value),
        compression="gzip",
        end=_too_large("more than 262144 are not copied"),
    ),
    BadRequest(name="header of 64 kB", spoil=lambda d: d.header("x-note", b"h" * 65_536), end=UNBOUND),
    BadRequest(
        name="attribute of 64 kB",
        spoil=lambda d: d.header("ce_id", b"i" * 65_536),
        end=_unreadable("ce_id must have at most 256 characters"),
    ),
    BadRequest(name="extension of 64 kB", spoil=lambda d: d.header("ce_shop", b"s" * 65_536), end=UNBOUND),
    BadRequest(
        name="trace context of 64 kB",
        spoil=lambda d: d.header("traceparent", b"0" * 65_536),
        end=UNBOUND,
    ),
    BadRequest(name="5,000 headers", spoil=lambda d: _many(d, "x-", 5_000), end=UNBOUND),
    BadRequest(name="5,000 attributes", spoil=lambda d: _many(d, "ce_x", 5_000), end=UNBOUND),
    BadRequest(
        name="5,000 attributes around nothing",
        spoil=each(lambda d: _many(d, "ce_x", 5_000), lambda d: d.value(None)),
        end=_unreadable("the value is null"),
    ),
    BadRequest(name="key of 1 MB", spoil=_with_key(b"k" * 1_000_000), end=UNBOUND),
)

FORM: Final = (
    BadRequest(name="null value", spoil=lambda d: d.value(None), end=_unreadable("the value is null")),
    BadRequest(name="null key", spoil=_with_key(None), end=UNBOUND),
    BadRequest(name="key that is not UTF-8", spoil=_with_key(b"\xff\xfe"), end=UNBOUND),
    BadRequest(
        name="empty record",
        spoil=each(lambda d: d.headers.clear(), lambda d: d.value(b""), _with_key(None)),
        end=_unreadable("ce_specversion must be 1.0"),
    ),
    BadRequest(
        name="empty value", spoil=lambda d: d.value(b""), end=_unreadable("the value is not JSON (line 1")
    ),
    BadRequest(
        name="header name that is not UTF-8",
        spoil=lambda d: d.header(b"\xff\xfe\xfd", b"v"),
        end=UNBOUND,
    ),
    BadRequest(
        name="attribute name that is not UTF-8", spoil=lambda d: d.header(b"ce_\xff", b"v"), end=UNBOUND
    ),
    BadRequest(
        name="header value that is not UTF-8", spoil=lambda d: d.header("x-note", b"\xff"), end=UNBOUND
    ),
    BadRequest(
        name="attribute that is not UTF-8",
        spoil=lambda d: d.header("ce_id", b"\xff\xfe"),
        end=_unreadable("header ce_id is not UTF-8"),
    ),
    BadRequest(name="header without a value", spoil=lambda d: d.header("x-note", None), end=UNBOUND),
    BadRequest(
        name="attribute without a value",
        spoil=lambda d: d.header("ce_source", None),
        end=_unreadable("ce_source is missing"),
    ),
    BadRequest(name="header without a name", spoil=lambda d: d.header(b"", b"v"), end=UNBOUND),
    BadRequest(
        name="no attributes",
        spoil=lambda d: d.headers.clear(),
        end=_unreadable("ce_specversion must be 1.0"),
    ),
    BadRequest(
        name="attribute with a control character",
        spoil=lambda d: d.header("ce_id", b"a\x1b[2Jb"),
        end=_unreadable("ce_id must have at most 256 characters and no control characters"),
    ),
    BadRequest(
        name="event of another type",
        spoil=lambda d: d.header("ce_type", b"token.canceled.v1"),
        end=_invalid("ce_type must be unbinding.requested.v1 or rebinding.requested.v1"),
    ),
    BadRequest(
        name="batch of CloudEvents",
        spoil=lambda d: d.header("content-type", b"application/cloudevents-batch+json"),
        end=_unreadable("structured mode is read as application/cloudevents+json only"),
    ),
)

JSON: Final = (
    BadRequest(
        name="not JSON", spoil=lambda d: d.value(b"hello"), end=_unreadable("the value is not JSON (line 1")
    ),
    BadRequest(
        name="an array", spoil=lambda d: d.value(b"[]"), end=_unreadable("the value is not a JSON object")
    ),
    BadRequest(
        name="UTF-16",
        spoil=lambda d: d.edit(lambda value: value.decode().encode("utf-16")),
        end=_unreadable("the value is not UTF-8"),
    ),
    BadRequest(
        name="byte order mark",
        spoil=lambda d: d.edit(lambda value: b"\xef\xbb\xbf" + value),
        end=_unreadable("the value is not JSON (line 1"),
    ),
    BadRequest(
        name="100,000 arrays in each other",
        spoil=lambda d: _splice(d, b'"note":' + b"[" * 100_000 + b"]" * 100_000),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(
        name="20,000 objects in each other",
        spoil=lambda d: _splice(d, b'"note":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(
        name="40 levels",
        spoil=lambda d: _splice(d, b'"note":' + b"[" * 40 + b"]" * 40),
        end=_unreadable("nested deeper than 32 levels"),
    ),
    BadRequest(
        name="duplicate members",
        spoil=lambda d: d.edit(lambda value: b'{"bindingId":"other",' + value[1:]),
        end=UNBOUND,
    ),
    BadRequest(
        name="NaN",
        spoil=lambda d: _splice(d, b'"note":NaN'),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(
        name="lone surrogate",
        spoil=lambda d: _splice(d, b'"passThroughInfo":"\\ud800"'),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(
        name="number of 5,000 digits",
        spoil=lambda d: _splice(d, b'"note":' + b"9" * 5_000),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(name="number of 30 digits", spoil=lambda d: _splice(d, b'"note":' + b"9" * 30), end=UNBOUND),
    BadRequest(
        name="number for the binding",
        spoil=_set(bindingId=7),
        end=Lettered(Reason.INVALID, "bindingId must be text of 1 to 128 characters"),
    ),
    BadRequest(
        name="NUL in the binding",
        spoil=_set(bindingId="a\0b"),
        end=Lettered(Reason.INVALID, "bindingId must be text of 1 to 128 characters"),
    ),
    BadRequest(name="number for text", spoil=_set(authClientId=7), end=_invalid("authClientId must be text")),
    BadRequest(
        name="number for the token", spoil=_set(accessToken=1e300), end=_invalid("accessToken must be text")
    ),
    BadRequest(
        name="number for a moment",
        spoil=_set(requestedAt=1_700_000_000_000),
        end=_invalid("requestedAt must be a moment as in RFC 3339"),
    ),
    BadRequest(
        name="moment of the year 9999",
        spoil=_set(requestedAt="9999-12-31T23:59:59.999Z"),
        end=_invalid("requestedAt must be a moment as in RFC 3339"),
    ),
    BadRequest(
        name="moment before 1970",
        spoil=_set(requestedAt="1969-12-31T23:59:59Z"),
        end=_invalid("requestedAt must be a moment as in RFC 3339"),
    ),
    BadRequest(name="moment of the year 9998", spoil=_set(requestedAt="9998-12-31T23:59:59Z"), end=UNBOUND),
    BadRequest(
        name="already expired",
        spoil=_set(expiresAt="1970-01-01T00:00:01Z"),
        end=Parked(Reason.EXPIRED, "expiresAt"),
    ),
    BadRequest(
        name="token of 129 characters",
        spoil=_set(accessToken="x" * 129),
        end=_invalid("accessToken must have at most 128 characters"),
    ),
    BadRequest(
        name="token that was never sealed",
        spoil=_set(accessToken="sealed:AAAA"),
        end=_invalid("accessToken"),
    ),
    BadRequest(
        name="target that nobody can end",
        spoil=_set(
            agreement={
                "authMerchantId": "m",
                "merchantAgreementId": "a",
                "activatedVia": "bills_and_utilities",
            }
        ),
        end=_invalid("agreement"),
    ),
    BadRequest(
        name="unicode in every place",
        spoil=each(_set(note="\U0001f512" * 100), lambda d: d.header("ce_id", "\U0001f512ü".encode())),
        end=UNBOUND,
    ),
)

TIMES: Final = (
    BadRequest(name="time 1970", spoil=_with_at(0), end=UNBOUND),
    BadRequest(name="time 9999", spoil=_with_at(YEAR_9999_AT), end=UNBOUND),
    BadRequest(name="time beyond all years", spoil=_with_at(2**62), end=UNBOUND),
    BadRequest(
        name="invalid beyond all years",
        spoil=each(_with_at(2**62), _set(authClientId=7)),
        end=_invalid("authClientId must be text"),
    ),
    BadRequest(
        name="unreadable beyond all years",
        spoil=each(_with_at(2**62), lambda d: d.value(None)),
        end=_unreadable("the value is null"),
    ),
    BadRequest(name="no time", spoil=_with_at(-1), end=UNBOUND),
    BadRequest(
        name="invalid without a time",
        spoil=each(_with_at(-1), _set(authClientId=7)),
        end=_invalid("authClientId must be text"),
    ),
    BadRequest(name="time before 1970", spoil=_with_at(-86_400_000), end=UNBOUND),
)

FORGED: Final = (
    *(
        BadRequest(
            name=f"forged origin: {name}", spoil=_forged("unbinding-forwarded-from", text), end=UNBOUND
        )
        for name, text in {
            "a record that there is not": "{topic}/0/999999",
            "another that there is not": "{topic}/1/999999",
            "its own partition": "{topic}/{here}/0",
            "a partition that there is not": "{topic}/99/0",
            "another topic": "elsewhere/0/0",
            "nonsense": "\u202e../../etc/passwd",
        }.items()
    ),
    BadRequest(
        name="forged origin of 64 kB",
        spoil=lambda d: d.header("unbinding-forwarded-from", b"/" * 65_536),
        end=UNBOUND,
    ),
    BadRequest(
        name="forged origin that is not UTF-8",
        spoil=lambda d: d.header("unbinding-forwarded-from", b"\xff/0/0"),
        end=UNBOUND,
    ),
    BadRequest(
        name="forged origin, in the wrong partition",
        spoil=_forged("unbinding-forwarded-from", "{topic}/{here}/999999"),
        end=UNBOUND,
        astray=True,
    ),
    BadRequest(
        name="forged letter",
        spoil=each(
            lambda d: d.header("unbinding-letter-version", b"7"),
            lambda d: d.header("unbinding-saga-id", b"forged"),
            lambda d: d.header("unbinding-reason", b"failed"),
            lambda d: d.header("kafka_dlt-original-topic", b"forged"),
            lambda d: d.header("unbinding-sealed-with", b"forged"),
            lambda d: d.value(b"hello"),
        ),
        end=_unreadable("the value is not JSON"),
    ),
    BadRequest(
        name="forged correlation",
        spoil=each(
            lambda d: d.header("ce_correlationid", b"forged"),
            lambda d: d.header("ce_causationid", b"forged"),
        ),
        end=UNBOUND,
    ),
)

ASTRAY: Final = (
    BadRequest(name="in the wrong partition", spoil=lambda _d: None, end=UNBOUND, astray=True),
    BadRequest(
        name="in the wrong partition, without a key",
        spoil=_with_key(None),
        end=UNBOUND,
        astray=True,
    ),
    BadRequest(
        name="in the wrong partition, invalid",
        spoil=_set(authClientId=7),
        end=_invalid("authClientId must be text"),
        astray=True,
    ),
    BadRequest(
        name="in the wrong partition, odd header",
        spoil=each(lambda d: d.header(b"\xff", b"\xff"), lambda d: d.header("x-none", None)),
        end=UNBOUND,
        astray=True,
    ),
    BadRequest(
        name="in the wrong partition, too large to be forwarded",
        spoil=lambda d: d.header("x-note", b"h" * 1_000_000),
        end=_too_large("is too large to be forwarded there"),
        astray=True,
    ),
    BadRequest(
        name="in the wrong partition, too large to be copied",
        spoil=lambda d: _pad(d, COPIED + 1),
        end=_too_large("more than 262144 are not copied"),
        astray=True,
    ),
)

COMPRESSED: Final = (
    *(
        BadRequest(name=f"compressed with {codec}", spoil=lambda _d: None, end=UNBOUND, compression=codec)
        for codec in CODECS
    ),
    *(
        BadRequest(
            name=f"compressed with {codec}, odd header",
            spoil=lambda d: d.header(b"\xff\xfe", b"v"),
            end=UNBOUND,
            compression=codec,
        )
        for codec in CODECS
    ),
)

BAD_REQUESTS: Final = (*SIZES, *FORM, *JSON, *TIMES, *FORGED, *ASTRAY, *COMPRESSED)
