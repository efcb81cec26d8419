"""What the journal tells of transactions that hang elsewhere, from batches' heads alone."""

from __future__ import annotations

import pytest

from tests.kafka.test_batches import ABORT, COMMIT, batch, marker
from worker.kafka.batches import CorruptBatch, Head, read_heads
from worker.kafka.fates import Fate
from worker.kafka.traces import Trace, fate_of, traces_of

pytestmark = pytest.mark.promise("P1", "P2")

OURS, FOREIGN = 7, 8
STAMP = 1_700_000_000_000
TRACE = Trace(OURS, 0, STAMP)


def records(*, producer: int = OURS, epoch: int = 0, stamp: int | None = STAMP, bare: bool = False) -> Head:
    """Return the head of a batch of records."""
    return Head(
        base_offset=0,
        next_offset=1,
        producer_id=producer,
        producer_epoch=epoch,
        transactional=not bare,
        stamp=stamp,
        aborts=None,
    )


def end(*, aborts: bool, producer: int = OURS) -> Head:
    """Return the head of a marker."""
    return Head(
        base_offset=0,
        next_offset=1,
        producer_id=producer,
        producer_epoch=0,
        transactional=True,
        stamp=None,
        aborts=aborts,
    )


def test_heads_say_who_wrote_and_how_it_ended() -> None:
    """Batches and markers are read with producer, offsets and timestamp, whatever became of them."""
    data = batch(3, b"a", b"b", producer=OURS) + marker(5, producer=OURS, kind=ABORT) + batch(6, b"plain")
    heads, after = read_heads(data, position=3)
    assert [(head.base_offset, head.next_offset, head.producer_id) for head in heads] == [
        (3, 5, OURS),
        (5, 6, OURS),
        (6, 7, -1),
    ]
    assert [head.transactional for head in heads] == [True, True, False]
    assert [head.aborts for head in heads] == [None, True, None]
    assert (heads[0].stamp, after) == (STAMP, 7)
    assert read_heads(marker(0, producer=OURS, kind=COMMIT), position=0)[0][0].aborts is False


def test_a_broken_first_batch_is_no_head() -> None:
    """A first batch with a wrong checksum is an error, and what lies before a later one is given."""
    whole = batch(0, b"a", producer=OURS)
    broken = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(CorruptBatch):
        read_heads(broken, position=0)
    assert len(read_heads(whole + broken, position=0)[0]) == 1


def test_what_hangs_names_its_transactions() -> None:
    """Each transaction of ours that wrote what hangs is named once; markers name none."""
    assert traces_of([records(), records(), end(aborts=True)], producer_id=OURS) == {TRACE}
    two = traces_of([records(), records(stamp=STAMP + 1)], producer_id=OURS)
    assert two == {TRACE, Trace(OURS, 0, STAMP + 1)}


@pytest.mark.parametrize(
    "odd",
    [records(producer=FOREIGN), records(stamp=None), records(bare=True)],
    ids=["foreign", "no timestamp of its own", "no transaction"],
)
def test_what_is_not_certainly_ours_names_nothing(odd: Head) -> None:
    """One batch that cannot be told makes all of it untold."""
    assert traces_of([records(), odd], producer_id=OURS) is None


@pytest.mark.parametrize("aborts", [True, False])
def test_the_marker_behind_the_batch_decides(aborts: bool) -> None:
    """The first marker of the producer behind the transaction's batch tells how it ended."""
    journal = [
        records(stamp=STAMP - 5),
        end(aborts=not aborts),
        records(),
        records(producer=FOREIGN),
        end(aborts=not aborts, producer=FOREIGN),
        end(aborts=aborts),
        records(stamp=STAMP + 1),
        end(aborts=not aborts),
    ]
    assert fate_of(TRACE, journal) is (Fate.ABORTED if aborts else Fate.COMMITTED)


@pytest.mark.parametrize(
    "journal",
    [
        [],
        [records(stamp=STAMP + 1), end(aborts=False)],
        [records(epoch=1), end(aborts=False)],
        [records(producer=FOREIGN), end(aborts=False)],
        [records(bare=True), end(aborts=False)],
        [records()],
    ],
    ids=["empty", "another time", "another epoch", "another producer", "no transaction", "no marker"],
)
def test_without_batch_and_marker_the_fate_is_unknown(journal: list[Head]) -> None:
    """A journal without the transaction's own batch, or without a marker behind it, tells nothing."""
    assert fate_of(TRACE, journal) is None
