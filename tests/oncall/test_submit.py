"""Reading what a person submits: forms of files, types, identities, and how mistakes are told."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cloudevents import read_event
from contracts.topics import LogicalTopic
from tests.oncall.examples import TOKEN, lines, notice, request
from tests.oncall.worlds import NOW_AT, moment
from worker.oncall.errors import CommandError
from worker.oncall.submit import PROBLEMS_SHOWN, Entry, SubmitRejected, read_entries, repetitions

REBINDING: dict[str, Any] = {
    "bindingId": "bnd-1",
    "customerBelongsTo": "ALIPAY_HK",
    "authRedirectUrl": "https://shop.example/bound",
    "scopes": ["AGREEMENT_PAY"],
    "authState": "st-1",
    "terminalType": "WEB",
}


def read(text: str, **more: Any) -> list[Entry]:
    """Read a file's text with plain settings."""
    return read_entries(text.encode(), **{"now_at": NOW_AT, "record_bytes": 10_000, **more})


def test_all_forms_of_a_file_are_read() -> None:
    """One object, an indented one, an array, and JSON Lines with blank lines hold the same entries."""
    forms = [
        json.dumps(request()),
        json.dumps(request(), indent=2),
        json.dumps([request()]),
        f"\n{lines(request())}\n  \n",
        "\ufeff" + json.dumps(request()),
    ]
    assert {read(form)[0].event_id for form in forms} == {read(forms[0])[0].event_id}


def test_fields_tell_the_type() -> None:
    """A request, a rebinding and a notice are told apart by their fields, and go to their topics."""
    entries = read(lines(request(), REBINDING, notice()))
    assert [(entry.event_type, entry.topic) for entry in entries] == [
        ("unbinding.requested.v1", LogicalTopic.REQUESTS),
        ("rebinding.requested.v1", LogicalTopic.REQUESTS),
        ("token.canceled.v1", LogicalTopic.NOTICES),
    ]


def test_fields_that_tell_no_type_are_a_mistake() -> None:
    """Where the fields tell no type, or two, the person must."""
    for document in ({"bindingId": "bnd-1"}, {**REBINDING, "initiator": "wallet"}):
        with pytest.raises(SubmitRejected, match="--type"):
            read(lines(document))
    given = read(lines({**REBINDING, "initiator": "wallet"}), event_type="rebinding.requested.v1")
    assert given[0].event_type == "rebinding.requested.v1"


def test_a_structured_cloudevent_keeps_its_attributes() -> None:
    """An event in structured mode is published in binary mode with its own id, source, time and trace."""
    document = {
        "specversion": "1.0",
        "id": "req-1",
        "source": "/wallet/app",
        "type": "unbinding.requested.v1",
        "time": moment(-60),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tenant": "t1",
        "data": request(),
    }
    (entry,) = read(lines(document))
    event = read_event(entry.value, entry.headers)
    assert (event.id, event.source, event.time, event.subject) == (
        "req-1",
        "/wallet/app",
        moment(-60),
        "bnd-1",
    )
    assert event.traceparent == document["traceparent"]
    assert event.extensions == {"tenant": "t1"}
    assert event.data == request()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"type": "binding.state.changed.v1"}, "type must be one of"),
        ({"time": "yesterday"}, "time must be a moment"),
        ({"id": ""}, "id is missing"),
        ({"data": [1]}, "data is not a JSON object"),
    ],
)
def test_a_wrong_cloudevent_is_told(changes: dict[str, Any], told: str) -> None:
    """Attributes that are wrong, and types that are not for people to submit, are mistakes."""
    document = {
        "specversion": "1.0",
        "id": "req-1",
        "source": "/wallet/app",
        "type": "unbinding.requested.v1",
        "data": request(),
        **changes,
    }
    with pytest.raises(SubmitRejected, match=told):
        read(lines(document))


def test_an_own_id_counts_and_is_no_data() -> None:
    """`id` beside the data is the event's id and is not published as data."""
    (entry,) = read(lines({**request(), "id": "req-7"}))
    assert entry.event_id == "req-7"
    assert read_event(entry.value, entry.headers).data == request()


@given(st.permutations(list(request())))
def test_the_made_id_tells_content_not_its_order(names: list[str]) -> None:
    """Equal data have one id in whatever order their fields stand; other data have another."""
    shuffled = {name: request()[name] for name in names}
    assert read(lines(shuffled))[0].event_id == read(lines(request()))[0].event_id
    assert read(lines(request("bnd-2")))[0].event_id != read(lines(request()))[0].event_id


def test_every_mistake_is_told_with_its_line() -> None:
    """All mistakes are told at once, each with its place, and none quotes a value."""
    text = lines(request(), request(accessToken=TOKEN * 100), [1]) + f'{{"accessToken": "{TOKEN}\n'
    with pytest.raises(SubmitRejected) as raised:
        read(text)
    told = str(raised.value)
    assert [problem.partition(":")[0] for problem in raised.value.problems] == ["line 2", "line 3", "line 4"]
    assert "3 of 4 entries are wrong; nothing was published" in told
    assert "accessToken" in told
    assert TOKEN not in told


def test_entries_of_an_array_are_told_by_number() -> None:
    """In an array the place is the entry's number."""
    with pytest.raises(SubmitRejected, match="entry 2: it is not a JSON object"):
        read(json.dumps([request(), 7]))


def test_a_broken_document_is_told_as_one() -> None:
    """A file of which no line is an entry is one broken document, told with line and column."""
    with pytest.raises(SubmitRejected, match=r"the file: it is not JSON \(line 3"):
        read('{\n "bindingId": "bnd-1",\n oops\n}')


def test_many_mistakes_are_cut() -> None:
    """Of very many mistakes the first are told, and how many more there are."""
    with pytest.raises(SubmitRejected, match=rf"and {100 - PROBLEMS_SHOWN} more"):
        read(lines(*[{"bindingId": "x"}] * 100))


@pytest.mark.parametrize("text", ["", "\n \n", "[]"])
def test_an_empty_file_is_a_mistake(text: str) -> None:
    """A file without entries is told as such."""
    with pytest.raises(CommandError, match="no entries"):
        read(text)


def test_what_the_worker_would_not_copy_is_kept_back() -> None:
    """An entry larger than the worker copies is a mistake, not a letter of tomorrow."""
    with pytest.raises(SubmitRejected, match=r"limits\.record_bytes"):
        read(lines(request()), record_bytes=100)


def test_repetitions_within_a_file_are_counted() -> None:
    """Entries with one identity are counted as repetitions."""
    assert repetitions(read(lines(request(), request(), request("bnd-2")))) == 1


@given(st.binary(max_size=200))
def test_no_content_breaks_the_reading(content: bytes) -> None:
    """Whatever the bytes: entries, or one of the errors that are told."""
    with contextlib.suppress(CommandError):
        assert read_entries(content, now_at=NOW_AT, record_bytes=10_000)
