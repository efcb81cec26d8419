"""Answers to a Fetch, as bytes: record batches broken in any way, with checksums wrong and right."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import strategies as st

from tests.fuzz.doors import door
from tests.fuzz.grammar import torn
from worker.kafka.batches import CorruptBatch, read_batches

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from tests.fuzz.grammar import Draw

pytestmark = [
    pytest.mark.promise("P10"),
    pytest.mark.fault("answers of a broker: record batches torn, cut, miscounted, in unknown forms"),
]

_CRC_AT, _SIGNED_FROM = 17, 21
_FIELDS: Final = {
    "base offset": (0, 8),
    "length": (8, 4),
    "leader epoch": (12, 4),
    "magic": (16, 1),
    "attributes": (21, 2),
    "last offset": (23, 4),
    "first timestamp": (27, 8),
    "max timestamp": (35, 8),
    "producer": (43, 8),
    "epoch": (51, 2),
    "sequence": (53, 4),
    "count": (57, 4),
}
_NUMBERS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 0x10, 0x20, 0x30, 0x7F, 0x80, 0xFF, 2**31 - 1, 2**31, 2**63, -1)
STEPS_MOST: Final = 200_000
"""Lines of code that reading one answer may run: far more than any answer here needs."""

Given = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


def batch(base: int, records: Iterable[Given], *, codec: int = 0, producer: int = -1) -> bytes:
    """Return a batch of these keys, values and headers."""
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, 0, 1 << 20)
    for number, (key, value, headers) in enumerate(records):
        builder.append(number, 1_700_000_000_000 + number, key, value, list(headers))
    raw = bytes(builder.build())
    return sealed(base.to_bytes(8, "big") + raw[8:])


def sealed(raw: bytes) -> bytes:
    """Return a batch whose checksum fits whatever it now is."""
    if len(raw) <= _SIGNED_FROM:
        return raw
    return raw[:_CRC_AT] + calc_crc32c(raw[_SIGNED_FROM:]).to_bytes(4, "big") + raw[_SIGNED_FROM:]


def measured(raw: bytes) -> bytes:
    """Return a batch whose length field fits whatever it now is."""
    return raw[:8] + max(0, len(raw) - 12).to_bytes(4, "big") + raw[12:] if len(raw) > 12 else raw


class Bounded:
    """Counts lines of Python while reading: whoever goes round for ever is stopped and told."""

    def __init__(self) -> None:
        self._left = STEPS_MOST

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._step)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _step(self, frame: FrameType, event: str, arg: Any) -> Any:
        del frame, event, arg
        self._left -= 1
        assert self._left > 0, "reading this answer takes no end"
        return self._step


def taken(data: bytes, *, position: int = 0, committed: bool = False) -> list[Any] | None:
    """Return what is read, `None` for a clear refusal; nothing else may be raised, and soon."""
    with Bounded():
        try:
            records, after = read_batches(data, position=position, aborted=[] if committed else None)
        except CorruptBatch:
            return None
    assert after >= position
    assert all(record.offset >= position for record in records)
    return records


def facts(records: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return all that is told of records, to compare them."""
    return [(one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in records]


_BYTES = st.none() | st.binary(max_size=12)
_HEADERS = st.lists(
    st.tuples(
        st.text(max_size=4).map(lambda name: name.encode("utf-8", "replace").decode()), st.binary(max_size=6)
    ),
    max_size=2,
).map(tuple)
_RECORDS = st.lists(st.tuples(_BYTES, _BYTES, _HEADERS), min_size=1, max_size=4)
_CODECS = st.sampled_from((0, 0, 1, 2, 3, 4))


@st.composite
def _answers(draw: Draw) -> list[bytes]:
    """Return one to three right batches, one after the other."""
    found: list[bytes] = []
    base = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 3))):
        records = draw(_RECORDS)
        found.append(batch(base, records, codec=draw(_CODECS), producer=draw(st.sampled_from((-1, 7)))))
        base += len(records)
    return found


@st.composite
def _broken(draw: Draw) -> bytes:
    """Return an answer with one batch that is wrong inside, its checksum and length mostly right."""
    batches = draw(_answers())
    at = draw(st.integers(0, len(batches) - 1))
    raw = bytearray(batches[at])
    for _ in range(draw(st.integers(1, 2))):
        start, size = _FIELDS[draw(st.sampled_from(sorted(_FIELDS)))]
        number = draw(st.sampled_from(_NUMBERS) | st.integers(0, 2**64 - 1))
        raw[start : start + size] = (number % 2 ** (8 * size)).to_bytes(size, "big")
    wrong = bytes(raw) if draw(st.booleans()) else bytes(raw[:61]) + draw(torn(bytes(raw[61:])))
    if draw(st.integers(0, 3)):
        wrong = measured(wrong)
    if draw(st.integers(0, 5)):
        wrong = sealed(wrong)
    batches[at] = wrong
    return b"".join(batches)


@door("batches", examples=400, data=_broken(), position=st.integers(0, 6), committed=st.booleans())
def test_a_broken_batch_is_refused_or_read_whole(data: bytes, position: int, *, committed: bool) -> None:
    """Whatever stands in a batch under a right checksum: records, or CorruptBatch, in bounded time."""
    taken(data, position=position, committed=committed)


@door("batches", examples=150, whole=_answers(), data=st.data())
def test_torn_answers_are_never_misread(whole: list[bytes], data: Any) -> None:
    """Bytes changed without their checksum give the records that were there, in order, or a refusal."""
    right = facts(taken(b"".join(whole)) or [])
    read = taken(data.draw(torn(b"".join(whole))))
    if read is not None:
        # What no checksum covers: base offset, leader epoch, length; and batches that went or came twice.
        told = [fact[2:] for fact in facts(read)]
        known = [fact[2:] for fact in right]
        assert all(fact in known for fact in told)


@door("batches", examples=150, whole=_answers(), data=st.data())
def test_a_cut_answer_gives_its_whole_batches(whole: list[bytes], data: Any) -> None:
    """An answer that ends anywhere gives each batch that is whole, and nothing of the one that is cut."""
    joined = b"".join(whole)
    end = data.draw(st.integers(0, len(joined)))
    complete: list[bytes] = []
    while len(complete) < len(whole) and len(b"".join(whole[: len(complete) + 1])) <= end:
        complete.append(whole[len(complete)])
    assert facts(taken(joined[:end]) or []) == facts(taken(b"".join(complete)) or [])


@door("batches", examples=120, records=_RECORDS, codec=_CODECS, junk=st.binary(min_size=4, max_size=4))
def test_tolerant_reading_is_all_or_nothing(records: list[Given], codec: int, junk: bytes) -> None:
    """With a header key that is not UTF-8 every record is there with all its other fields."""
    marked = [(key, value, (*headers, ("HHHH", b"h"))) for key, value, headers in records]
    raw = batch(3, marked, codec=codec)
    if codec or raw.count(b"HHHH") != len(marked):
        return
    right = taken(raw)
    assert right is not None
    read = taken(sealed(raw.replace(b"HHHH", b"\xff" + junk[1:])))
    assert read is not None
    assert [fact[:4] for fact in facts(read)] == [fact[:4] for fact in facts(right)]


@door("batches", examples=300, junk=st.binary(max_size=200))
def test_any_bytes_are_no_answer(junk: bytes) -> None:
    """Bytes that never were a batch are refused, or too short to be one."""
    assert not taken(junk)


@door("batches", examples=200, records=_RECORDS, data=st.data())
def test_a_miscounted_tolerant_batch_is_refused(records: list[Given], data: Any) -> None:
    """Broken lengths in a batch that is read tolerantly never give half a record."""
    marked = [(key, value, (*headers, ("HHHH", b"h"))) for key, value, headers in records]
    raw = batch(3, marked)
    right = [fact[:4] for fact in facts(taken(raw) or [])]
    spoilt = bytearray(raw.replace(b"HHHH", b"\xff\xfe\xfd\xfc"))
    at = data.draw(st.integers(61, len(spoilt) - 1))
    spoilt[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        spoilt = spoilt[: data.draw(st.integers(61, len(spoilt)))]
    read = taken(sealed(measured(bytes(spoilt))))
    if read is not None:
        assert len(read) == len(right)


def test_a_broken_batch_costs_none_before_it() -> None:
    """Records before a batch that cannot be read are given; where it comes first, it is told."""
    good, broken = batch(0, [(b"k", b"v", ())]), bytearray(batch(1, [(b"k", b"w", ())]))
    broken[-1] ^= 1
    records, after = read_batches(good + bytes(broken), position=0, aborted=None)
    assert ([record.value for record in records], after) == ([b"v"], 1)
    with pytest.raises(CorruptBatch, match="at offset 1"):
        read_batches(good + bytes(broken), position=1, aborted=None)


@pytest.mark.parametrize("length", [-(2**31), -12, -1, 0, 5, 48])
def test_a_batch_shorter_than_its_head_is_refused(length: int) -> None:
    """A length that is less than a batch's own head is told; aiokafka would read beyond the bytes."""
    raw = batch(0, [(b"k", b"v", ())])
    short = raw[:8] + length.to_bytes(4, "big", signed=True) + raw[12:]
    with pytest.raises(CorruptBatch, match="too short"):
        read_batches(short, position=0, aborted=None)
