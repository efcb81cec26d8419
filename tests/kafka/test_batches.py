"""Reading record batches as they lie in the log."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from worker.kafka.batches import CorruptBatch, read_batches

ABORT, COMMIT = 0, 1


def batch(
    base: int, *values: bytes, producer: int = -1, header: bytes | None = None, gzip: bool = False
) -> bytes:
    """Return a batch at this offset; transactional, if it has a producer."""
    codec = 1 if gzip else 0
    builder = DefaultRecordBatchBuilder(2, codec, int(producer >= 0), producer, 0, 0, 1_000_000)
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, b"k", value, [] if header is None else [("HHHH", b"h")])
    raw = bytes(builder.build())
    if header is not None:
        raw = raw.replace(b"HHHH", header)
    return _sealed(base.to_bytes(8, "big") + raw[8:])


def marker(base: int, *, producer: int, kind: int) -> bytes:
    """Return a transaction's marker."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1_000)
    builder.append(0, 1, (0).to_bytes(2, "big") + kind.to_bytes(2, "big"), b"\0" * 6, [])
    raw = bytearray(builder.build())
    raw[22] |= 0b10_0000  # the control bit of the attributes
    return _sealed(base.to_bytes(8, "big") + bytes(raw[8:]))


def _sealed(raw: bytes) -> bytes:
    return raw[:17] + calc_crc32c(raw[21:]).to_bytes(4, "big") + raw[21:]


def values(
    data: bytes, *, position: int = 0, aborted: list[tuple[int, int]] | None = None
) -> list[bytes | None]:
    """Return the values that are read."""
    return [record.value for record in read_batches(data, position=position, aborted=aborted)[0]]


def test_reads_from_the_position_on() -> None:
    """Records before the wanted offset, which come along in a batch, are left out."""
    records, after = read_batches(batch(10, b"a", b"b") + batch(12, b"c"), position=11, aborted=None)
    assert [(record.offset, record.value) for record in records] == [(11, b"b"), (12, b"c")]
    assert after == 13


def test_markers_move_the_position() -> None:
    """A marker gives no record and moves the position."""
    assert read_batches(marker(5, producer=1, kind=COMMIT), position=5, aborted=[]) == ([], 6)


def test_aborted_records_are_left_out() -> None:
    """Records of an aborted transaction are left out up to its marker, and those of others stay."""
    data = (
        batch(0, b"lost", producer=1)
        + batch(1, b"kept", producer=2)
        + marker(2, producer=1, kind=ABORT)
        + batch(3, b"later", producer=1)
        + batch(4, b"plain")
    )
    assert values(data, aborted=[(1, 0)]) == [b"kept", b"later", b"plain"]
    assert values(data, aborted=None) == [b"lost", b"kept", b"later", b"plain"]


@pytest.mark.parametrize("gzip", [False, True])
def test_junk_header_key(gzip: bool) -> None:
    """A header key that is not UTF-8 costs neither its record nor a neighbour."""
    junk = b"\xff\xfe\xfd\xfc"
    data = batch(0, b"a") + (
        batch(1, b"b" * 500, b"c", header=junk) if not gzip else batch(1, b"b" * 500, b"c", gzip=True)
    )
    assert values(data + batch(3, b"d")) == [b"a", b"b" * 500, b"c", b"d"]


def test_tolerant_reading_agrees() -> None:
    """A batch read tolerantly has all fields of its records."""
    (record,), _ = read_batches(batch(7, b"v", header=b"\xffabc"), position=0, aborted=None)
    assert (record.offset, record.timestamp, record.key, record.value) == (7, 1_700_000_000_000, b"k", b"v")
    assert record.headers == [("\ufffdabc", b"h")]


def test_cut_answer() -> None:
    """A batch that was cut at the end of an answer is left for the next one."""
    whole = batch(0, b"a")
    assert read_batches(whole + batch(1, b"b")[:-1], position=0, aborted=None)[1] == 1


def test_wrong_checksum() -> None:
    """A flipped bit is told with its offset."""
    broken = bytearray(batch(42, b"value"))
    broken[-3] ^= 1
    with pytest.raises(CorruptBatch, match="42"):
        read_batches(bytes(broken), position=42, aborted=None)


def test_old_format() -> None:
    """A format older than Kafka 0.11 is told, not misread."""
    old = bytearray(batch(0, b"value"))
    old[16] = 1
    with pytest.raises(CorruptBatch, match="format 1"):
        read_batches(bytes(old), position=0, aborted=None)


@given(
    body=st.binary(max_size=200),
    header=st.binary(min_size=4, max_size=4).filter(lambda name: b"HHHH" not in name),
)
def test_any_bytes_are_read_back(body: bytes, header: bytes) -> None:
    """Whatever the value and the header key are, the record is read back."""
    if b"HHHH" in body:
        return
    assert values(batch(0, body, b"next", header=header)) == [body, b"next"]
