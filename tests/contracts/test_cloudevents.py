import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cloudevents import (
    DEPTH_MAX,
    Headers,
    IncomingEvent,
    UnreadableEvent,
    event_headers,
    peek_binding_id,
    read_event,
)

pytestmark = pytest.mark.promise("P10")

BINARY: dict[str, bytes] = {
    "ce_specversion": b"1.0",
    "ce_id": b"req-1",
    "ce_source": b"/wallet",
    "ce_type": b"unbinding.requested.v1",
}
VALUE = b'{"bindingId":"bnd-1"}'
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def binary(value: bytes | None = VALUE, **changes: bytes | None) -> IncomingEvent:
    """Read a record in binary mode with these headers changed."""
    return read_event(value, list({**BINARY, **changes}.items()))


def envelope(**changes: Any) -> bytes:
    """Return a structured event; `...` removes a member."""
    whole = {
        "specversion": "1.0",
        "id": "req-1",
        "source": "/wallet",
        "type": "unbinding.requested.v1",
        "data": {"bindingId": "bnd-1"},
        **changes,
    }
    return orjson.dumps({name: member for name, member in whole.items() if member is not ...})


def refusal(value: bytes | None, headers: Headers) -> UnreadableEvent | None:
    """Return the error that reading ends in, if any."""
    try:
        read_event(value, headers)
    except UnreadableEvent as error:
        return error
    return None


def test_binary_mode_is_read() -> None:
    """Attributes come from headers, data from the value."""
    event = binary(
        ce_subject=b"bnd-1",
        ce_time=b"2025-03-01T01:15:27Z",
        ce_correlationid=b"saga-1",
        ce_causationid=b"cmd-1",
        ce_tenant=b"hk",
        traceparent=TRACEPARENT.encode(),
        tracestate=b"a=1",
    )
    assert (event.id, event.source, event.type) == ("req-1", "/wallet", "unbinding.requested.v1")
    assert (event.subject, event.time) == ("bnd-1", "2025-03-01T01:15:27Z")
    assert (event.correlation_id, event.causation_id) == ("saga-1", "cmd-1")
    assert (event.traceparent, event.tracestate) == (TRACEPARENT, "a=1")
    assert event.extensions == {"tenant": "hk"}
    assert event.data == {"bindingId": "bnd-1"}


def test_structured_mode_is_read() -> None:
    """Everything comes from the envelope; headers beside it do not count."""
    value = envelope(subject="bnd-1", traceparent=TRACEPARENT, tenant="hk", number=7)
    event = read_event(value, [*STRUCTURED, ("ce_id", b"other"), ("ce_source", b"\xff")])
    assert (event.id, event.source, event.subject) == ("req-1", "/wallet", "bnd-1")
    assert event.traceparent == TRACEPARENT
    assert event.extensions == {"tenant": "hk"}
    assert peek_binding_id(event) == "bnd-1"


def test_structured_data_may_be_base64() -> None:
    """`data_base64` holds the same JSON object."""
    value = envelope(data=..., data_base64=base64.b64encode(VALUE).decode())
    assert read_event(value, STRUCTURED).data == {"bindingId": "bnd-1"}


def test_the_last_of_equal_headers_counts() -> None:
    """As with the Java client's lastHeader."""
    headers = [*BINARY.items(), ("ce_id", b"req-2")]
    assert read_event(VALUE, headers).id == "req-2"


def test_empty_optional_attributes_are_absent() -> None:
    """Some senders write empty headers for what they do not know."""
    event = binary(ce_subject=b"", ce_time=b"", ce_correlationid=None)
    assert (event.subject, event.time, event.correlation_id) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "changes", "message"),
    [
        (None, {}, "the value is null"),
        (b"", {}, "the value is not JSON (line 1, column 1)"),
        (b"{", {}, "the value is not JSON"),
        (b'{"a":"\xff"}', {}, "the value is not UTF-8"),
        (b"[]", {}, "the value is not a JSON object"),
        (b'{"a":NaN}', {}, "the value is not JSON"),
        (VALUE, {"ce_specversion": None}, "ce_specversion must be 1.0"),
        (VALUE, {"ce_specversion": b"0.3"}, "ce_specversion must be 1.0"),
        (VALUE, {"ce_id": None}, "ce_id is missing"),
        (VALUE, {"ce_source": b""}, "ce_source is missing"),
        (VALUE, {"ce_type": None}, "ce_type is missing"),
        (VALUE, {"ce_type": b"\xff"}, "header ce_type is not UTF-8"),
        (VALUE, {"ce_other": b"\xff"}, "header ce_other is not UTF-8"),
        (VALUE, {"ce_BAD NAME": b"\xff"}, "header ce_… (a name that is not allowed) is not UTF-8"),
        (VALUE, {"ce_id": b"x" * 257}, "ce_id must have at most 256 characters and no control characters"),
        (VALUE, {"ce_id": b"a\nb"}, "ce_id must have at most 256 characters and no control characters"),
        (VALUE, {"ce_source": b"x" * 65_536}, "ce_source must have at most 512 characters"),
        (VALUE, {"content-type": b"application/cloudevents-batch+json"}, "structured mode is read as"),
    ],
)
def test_what_is_no_event_is_refused(
    value: bytes | None, changes: dict[str, bytes | None], message: str
) -> None:
    """The error says what is wrong and where."""
    with pytest.raises(UnreadableEvent) as caught:
        binary(value, **changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (envelope(data=...), "data is missing"),
        (envelope(data=None), "data is missing"),
        (envelope(data="text"), "data is not a JSON object"),
        (envelope(data=[1]), "data is not a JSON object"),
        (envelope(id=7), "attribute id is not text"),
        (envelope(id=...), "id is missing"),
        (envelope(specversion="2.0"), "specversion must be 1.0"),
        (envelope(data=..., data_base64="?"), "data_base64 is not base64"),
        (envelope(data=..., data_base64="é"), "data_base64 is not base64"),
        (envelope(data=..., data_base64="e30x"), "data_base64 is not JSON"),
        (b"null", "the value is not a JSON object"),
    ],
)
def test_a_broken_envelope_is_refused(value: bytes, message: str) -> None:
    """The error says what is wrong with the envelope."""
    with pytest.raises(UnreadableEvent) as caught:
        read_event(value, STRUCTURED)
    assert str(caught.value).startswith(message)


def test_ids_survive_what_follows_them() -> None:
    """Where id and source can be read but the rest cannot, the error has them."""
    with pytest.raises(UnreadableEvent) as caught:
        binary(b"no json")
    assert (caught.value.event_id, caught.value.source) == ("req-1", "/wallet")
    with pytest.raises(UnreadableEvent) as caught:
        binary(ce_id=b"a\x00")
    assert (caught.value.event_id, caught.value.source) == (None, "/wallet")


def test_errors_do_not_carry_the_document() -> None:
    """No decoder's error, which holds the whole value, is chained."""
    with pytest.raises(UnreadableEvent) as caught:
        binary(b'{"accessToken":"tok_1"')
    assert caught.value.__context__ is None
    assert "tok_1" not in str(caught.value)


def test_the_repr_shows_no_data() -> None:
    """Neither data nor headers nor extensions show."""
    event = binary(b'{"accessToken":"tok_1"}', ce_ext=b"tok_2", other=b"tok_3")
    assert "tok_" not in repr(event)


@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 900, 100_000])
@pytest.mark.parametrize("brackets", [(b'{"a":', b"}"), (b"[", b"]")])
def test_deep_json_is_refused(depth: int, brackets: tuple[bytes, bytes]) -> None:
    """A bomb of nested brackets ends in UnreadableEvent, not in RecursionError."""
    opening, closing = brackets
    bomb = b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"
    with pytest.raises(UnreadableEvent):
        binary(bomb)


def test_wide_and_deepest_allowed_json_is_read() -> None:
    """Many brackets side by side, and nesting up to the limit, are no bomb."""
    deepest = b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX
    assert binary(deepest).data
    assert len(binary(b'{"a":[' + b"[]," * 999 + b"[]]}").data["a"]) == 1000


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"junk",
        b"\xff" * 55,
        b"ff" + TRACEPARENT[2:].encode(),
        TRACEPARENT.upper().encode(),
        b"0" * 70_000,
    ],
)
def test_a_malformed_trace_context_is_ignored(traceparent: bytes) -> None:
    """It costs the trace, never the event."""
    event = binary(traceparent=traceparent, tracestate=b"a=1")
    assert (event.traceparent, event.tracestate) == (None, None)


@pytest.mark.parametrize("binding_id", ['""', '"' + "x" * 129 + '"', "7", "null", "[]", '"a\\u0000"'])
def test_an_unreadable_binding_id_is_none(binding_id: str) -> None:
    """Routing gets an id of 1 to 128 characters, or nothing."""
    assert peek_binding_id(binary(b'{"bindingId":' + binding_id.encode() + b"}")) is None


def test_written_headers_are_read_back() -> None:
    """What event_headers writes, read_event understands, and nothing is lost."""
    headers = event_headers(
        event_id="saga-1:2",
        source="/unbinding",
        event_type="binding.state.changed.v1",
        at=1_740_791_727_123,
        subject="bnd-é",
        correlation_id="saga-1",
        causation_id="req-1",
        traceparent=TRACEPARENT,
        tracestate="a=1",
    )
    event = read_event(b"{}", headers)
    assert event == IncomingEvent(
        id="saga-1:2",
        source="/unbinding",
        type="binding.state.changed.v1",
        time="2025-03-01T01:15:27.123Z",
        subject="bnd-é",
        correlation_id="saga-1",
        causation_id="req-1",
        traceparent=TRACEPARENT,
        tracestate="a=1",
        data={},
        headers=headers,
    )
    assert dict(headers)["content-type"] == b"application/json"


def test_absent_attributes_are_not_written() -> None:
    """A header exists only where there is something to say."""
    names = {name for name, _ in event_headers(event_id="1", source="/a", event_type="t", at=0)}
    assert names == {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"}


names = st.sampled_from(
    [*BINARY, "ce_subject", "ce_time", "ce_x", "content-type", "traceparent", "tracestate", "any"]
) | st.text("ce_\x00é ", max_size=8)
raw = st.none() | st.binary(max_size=40) | st.sampled_from([*BINARY.values(), STRUCTURED[0][1]])
values = (
    st.none()
    | st.binary(max_size=60)
    | st.sampled_from([VALUE, envelope(), envelope(id=[]), b"[" * 5000, b'{"a":' * 5000])
    | st.binary(min_size=1, max_size=3).map(lambda junk: envelope() + junk)
    | st.binary(max_size=30).map(lambda junk: b'{"specversion":"1.0","id":"' + junk + b'"}')
)


@given(value=values, extra=st.lists(st.tuples(names, raw), max_size=6), base=st.booleans())
def test_any_record_is_read_or_refused(
    value: bytes | None, extra: list[tuple[str, bytes | None]], base: bool
) -> None:
    """Whatever the bytes: an event with the attributes it must have, or one short UnreadableEvent."""
    headers = [*BINARY.items(), *extra] if base else extra
    error = refusal(value, headers)
    if error is None:
        event = read_event(value, headers)
        assert all((event.id, event.source, event.type))
        peek_binding_id(event)
    else:
        assert 0 < len(str(error).encode()) <= 256
        assert error.__context__ is None
