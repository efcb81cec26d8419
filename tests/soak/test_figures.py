"""The figures of a soak say what was measured: memory over a life, recoveries, counts."""

from __future__ import annotations

from tests.faults.diary import Line
from tests.soak.blows import Struck
from tests.soak.figures import WARM_S, Report, Sample, memory_of, recoveries, spread
from tests.soak.schedule import Blow, Strike

MIB = 1024 * 1024


def life(*, seconds: int, grows_mib_h: float, files: int = 50) -> list[Sample]:
    """Return the samples of a process that starts with a leap, and then grows evenly."""
    return [
        Sample(
            at_s, int((100 + (at_s - WARM_S) * grows_mib_h / 3600) * MIB) if at_s >= WARM_S else MIB, files
        )
        for at_s in range(0, seconds, 5)
    ]


def test_a_leak_is_seen_in_the_longest_life() -> None:
    """The slope is that of the process that lived longest, its time of warming up left out."""
    memory = memory_of({"a-1": life(seconds=200, grows_mib_h=0), "c-1": life(seconds=900, grows_mib_h=36)})
    assert memory.lives == 2
    assert round(memory.slope_mib_h) == 36
    assert memory.grown_mib == 8.5
    assert memory.most_mib == 108.5


def test_short_lives_tell_no_slope() -> None:
    """Processes that were killed early tell how much they took at most, and nothing of growth."""
    memory = memory_of({"a-1": life(seconds=60, grows_mib_h=999), "a-2": []})
    assert (memory.lives, memory.slope_mib_h, memory.most_files) == (0, 0.0, 50)


def struck(worker: str, at: int, *partitions: int) -> Struck:
    """Return a kill."""
    strike = Strike(lane="a", blow=Blow.KILL, after_ms=0, for_ms=0)
    return Struck(strike=strike, began_at=at, ended_at=at, worker=worker, partitions=frozenset(partitions))


def opened(at: int, partition: int) -> Line:
    """Return the line that a shard was opened."""
    return Line(worker="b-1", at=at, event="shard.opened", fields={"partition": partition})


def test_recovery_ends_when_somebody_has_opened_the_partition() -> None:
    """A recovery lasts from the kill to the next opening of each partition that the worker had open."""
    lines = [opened(500, 1), opened(1_800, 1), opened(9_000, 1), opened(4_000, 2)]
    assert recoveries([struck("a-1", 1_000, 1, 2, 3)], lines) == [800, 3_000]
    assert spread([800, 3_000]) == "p50 1.9 s, max 3.0 s, of 2"
    assert spread([]) == "none"


def test_report_is_text_and_table() -> None:
    """Each figure stands in the text under its section, and in the table in its section's row."""
    report = Report("a soak")
    report.row("calls", "all", 7)
    report.counted("calls", {"cancel_token answered": 3, "consult answered": 4})
    report.row("logs", "lines", 12)
    assert "calls:\n  all                    7\n  consult answered       4\n" in report.text()
    assert "| calls | all 7 · consult answered 4 · cancel_token answered 3 |" in report.markdown()
    assert "| logs | lines 12 |" in report.markdown()
