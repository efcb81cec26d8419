"""A journal whose records were changed: read rightly, or not at all and with a clear text."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from typing_extensions import override

from contracts.requests import REBINDING_REQUESTED
from contracts.states import Step
from contracts.topics import LogicalTopic, topic_name
from tests.contracts.samples import SAMPLES
from tests.fuzz.doors import door
from tests.fuzz.grammar import changed, encoded, header_name, header_value, odd_scalar, torn
from tests.fuzz.reception import Reception
from tests.shard.desk import FAILED, LINE_STOP, SILENCE, home
from worker.ports import Input, JournalRecord
from worker.shard import claim, journal
from worker.shard.journal import JournalUnreadable, LetterRecord

if TYPE_CHECKING:
    from tests.fuzz.grammar import Draw

pytestmark = [
    pytest.mark.promise("P10", "P12"),
    pytest.mark.fault("a journal whose records were changed, cut, or written by a version to come"),
]

JOURNAL: Final = topic_name(LogicalTopic.JOURNAL)


@functools.cache
def records() -> tuple[JournalRecord, ...]:
    """Return the journal of a shard that has seen one of everything: a record of each kind at least."""
    reception = Reception()
    desk = reception.desk
    waiting, parked, stopped, ended, asked = (home(name) for name in ("w", "p", "s", "e", "r"))

    async def story() -> None:
        await desk.open()
        desk.request(ended, "token-e")
        await desk.until(lambda: "unbound" in desk.told(ended))
        await desk.rest(7_300)
        desk.hub.answers[Step.CONSULT] = [FAILED]
        desk.request(parked, "token-p")
        await desk.until(lambda: "parked" in desk.told(parked))
        desk.hub.answers[Step.CANCEL_TOKEN] = [SILENCE] * 50
        desk.request(waiting, "token-w")
        await desk.until(lambda: "waiting" in desk.told(waiting))
        desk.request(
            waiting, "token-v", merchantAccount=SAMPLES["unbinding.requested.v1"]["data"]["merchantAccount"]
        )
        desk.hub.answers[Step.CONSULT] = [LINE_STOP] * 50
        desk.request(stopped, "token-s")
        desk.request(home("t"), "token-t")
        desk.send(LogicalTopic.REQUESTS, b"{")
        desk.notice(accessToken="token-n")
        rebinding = SAMPLES[REBINDING_REQUESTED]["data"] | {"expiresAt": None}
        desk.hub.answers[Step.OFFER] = [SILENCE] * 50
        desk.request(asked, None, kind=REBINDING_REQUESTED, **{**rebinding, "bindingId": asked})
        desk.request(home("f"), "token-f")
        await desk.rest(3)

    desk.play(story())
    latest: dict[bytes, JournalRecord] = {}
    for record in desk.cluster.committed(JOURNAL, 0):
        assert record.key is not None
        if record.value is None:
            latest.pop(record.key, None)
        else:
            latest[record.key] = JournalRecord(record.key, record.value, record.headers)
    kinds = {key.partition(b":")[0] for key in latest}
    assert kinds == {b"position", b"state", b"request", b"seen", b"dead", b"line"}, kinds
    return tuple(latest.values())


def _object(raw: bytes | None) -> Any:
    try:
        return orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None


class Spoilt(tuple[JournalRecord, ...]):
    """A journal; what is shown of it is what was changed."""

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        return f"Spoilt(changed={[one for one in self if one not in records()]}, records={len(self)})"


@st.composite
def _spoilt(draw: Draw) -> Spoilt:
    """Return the journal with one or two records changed: value, key or headers."""
    found = list(records())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(found) - 1))
        key, value, headers = found[at]
        what = draw(
            st.sampled_from(("value", "value", "value", "torn", "key", "headers", "gone", "empty", "meta"))
        )
        sample = _object(value)
        match what:
            case "value" if sample is not None:
                value = draw(encoded(draw(changed(sample, most=2))))
            case "value" | "torn":
                value = draw(torn(value or b""))
            case "key":
                key = draw(torn(key, most=1))
            case "empty":
                value = b""
            case "headers":
                headers = (*headers, (draw(header_name()), draw(header_value())))[draw(st.integers(0, 2)) :]
            case "meta" if headers:
                name, content = draw(st.sampled_from(headers))
                meta = _object(content)
                spoilt = draw(torn(content)) if meta is None else draw(encoded(draw(changed(meta, most=2))))
                headers = tuple((one, spoilt if one == name else other) for one, other in headers)
        if what == "gone":
            del found[at]
        else:
            found[at] = JournalRecord(key, value, headers)
        assume(found)
    return Spoilt(found)


def _plain(members: dict[str, Any]) -> dict[str, Any]:
    """Return a state's members without those that say what their absence says."""
    return {
        name: sorted(content) if name in {"att", "und"} else content
        for name, content in members.items()
        if content not in (None, "", [], False)
        and not (type(content) is int and content == 0 and name not in journal._MOMENTS)  # noqa: SLF001 - compared with the format itself
        and (name, content) != ("k", "unbinding")
    }


@door("journal", examples=300, spoilt=_spoilt())
def test_a_spoilt_journal_is_read_rightly_or_not_at_all(spoilt: Spoilt) -> None:
    """Each record is understood whole: it would be written the same again; or JournalUnreadable is raised."""
    latest = {record.key: record for record in spoilt}
    try:
        memory = claim.build(latest)
    except JournalUnreadable as refusal:
        text = str(refusal)
        assert "run the" in text
        assert text.isprintable()
        assert len(text) < 600
        return
    for record in latest.values():
        prefix, _, name = record.key.decode(errors="replace").partition(":")
        if prefix == "state":
            _check_state(name, record.value or b"")
        elif prefix == "position":
            found = _object(record.value)
            assert memory.position == {source: found[source] for source in Input if source in found}
            assert memory.fingerprint_keys == set(found.get("keys", ()))
        elif prefix == "line":
            line, found = memory.lines[name].record, _object(record.value)
            assert (line.stopped_at, line.probe_at, line.probes) == (found["at"], found["probe"], found["n"])
            assert line.code == found.get("code")
        elif prefix == "dead":
            assert memory.noticed[bytes.fromhex(name)] == _object(record.value)["at"]


def _check_state(key: str, value: bytes) -> None:
    given = orjson.loads(value)
    record = journal.decode_state(key, value)
    again = (
        journal.encode_letter(record) if isinstance(record, LetterRecord) else journal.encode_state(record)
    )
    if isinstance(record, LetterRecord):
        known = orjson.loads(again)["letter"]
        assert known == {name: given["letter"].get(name, False) for name in known}
        return
    assert json.dumps(_plain(orjson.loads(again)), sort_keys=True) == json.dumps(
        _plain(given), sort_keys=True
    )


@door("journal", examples=80, data=st.data())
def test_what_a_later_version_adds_is_kept(data: Any) -> None:
    """Members that this version does not know are written again as they were."""
    name, value = data.draw(
        st.sampled_from(
            [(r.key.decode().removeprefix("state:"), r.value) for r in records() if b"state:" in r.key]
        )
    )
    given = orjson.loads(value)
    assume("letter" not in given)
    more = data.draw(
        st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=6),
            st.integers(0, 9) | st.text(st.characters(codec="utf-8"), max_size=5),
            max_size=3,
        )
    )
    assume(not more.keys() & given.keys() and not more.keys() & journal._TYPES and "letter" not in more)  # noqa: SLF001 - the format's own list
    record = journal.decode_state(name, orjson.dumps(given | more))
    assert not isinstance(record, LetterRecord)
    assert orjson.loads(journal.encode_state(record)).items() >= more.items()


@door(
    "journal",
    examples=40,
    kind=st.sampled_from(("soon:", "state2:", "", ":", "position:", "\ud800")),
    value=odd_scalar(),
)
def test_records_of_unknown_kinds_are_told(kind: str, value: Any) -> None:
    """A kind of record that this version does not know keeps the shard closed, and the text names it."""
    key = kind.encode("utf-8", "surrogatepass")
    strange = JournalRecord(key, json.dumps(value).encode(), ())
    with pytest.raises(JournalUnreadable, match="run the newer version"):
        claim.build({record.key: record for record in (*records(), strange)})


@door("journal", examples=40, spoilt=_spoilt())
def test_a_shard_with_a_spoilt_journal_opens_or_says_why(spoilt: Spoilt) -> None:
    """It serves a new request, or stays closed and names the record; it never goes round in crashes."""
    reception = Reception()
    desk = reception.desk
    desk.jumped_ms = 3 * 3_600_000  # after all that stands in the journal
    for record in spoilt:
        desk.cluster.append(JOURNAL, 0, key=record.key, value=record.value, headers=record.headers)
    for _ in range(30):
        for topic in (LogicalTopic.REQUESTS, LogicalTopic.NOTICES, LogicalTopic.COMMANDS):
            desk.cluster.append(topic_name(topic), 0, key=None, value=None)

    async def story() -> None:
        desk.begin()
        reception.send_good()
        await desk.until(
            lambda: desk.shard.why or all("unbound" in desk.told(binding) for binding in reception.good),
            limit=60,
        )
        if desk.shard.why:
            assert "inside the worker" not in desk.shard.why, reception.ear.lines[-1]
            assert (
                "journal" in desk.shard.why or "partition 0 of" in desk.shard.why or "key" in desk.shard.why
            )
        assert desk.log.restores <= 12

    desk.play(story())


def test_a_request_without_its_state_is_told() -> None:
    """Where a saga's state is gone and its request is not, a request was lost: the shard stays closed."""
    states = [record.key for record in records() if record.key.startswith(b"state:")]
    for gone in states:
        left = {record.key: record for record in records() if record.key != gone}
        if gone.replace(b"state:", b"request:") in left:
            with pytest.raises(JournalUnreadable, match="has no state beside it"):
                claim.build(left)
