"""Makes the report of a soak of what it has counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from contracts.topics import LogicalTopic
from tests.soak.figures import Report, memory_of, recoveries, spread

if TYPE_CHECKING:
    from tests.soak.course import Run

_MIB = 1024 * 1024


def report_of(run: Run) -> Report:
    """Return the figures of a soak, whole or broken off."""
    tally = run.window.tally
    report = Report(f"soak: seed {run.course.seed}, {run.course.for_s:.0f} s of load and faults")
    report.row("course", "again", run.course.replay)
    for what, seconds in run.took_s.items():
        report.row("course", what, f"{seconds:.0f} s")
    report.row("course", "looks at everything", tally.looks)
    report.row("course", "units judged at rest", tally.judged)
    report.row("course", "unbinding verify", run.verified)
    report.row("course", "restart at rest", run.restarted)
    report.counted("sent", {topic.value: number for topic, number in run.sent.items()})
    report.counted("ordered by those on call", run.oncall.ordered)
    report.counted("verdicts", tally.verdicts)
    report.counted("sagas by their end", tally.ends)
    report.row("events", "all", tally.events.total())
    report.counted("events", tally.events)
    report.row("calls", "all", tally.calls.total())
    report.counted("calls", tally.calls)
    report.row("calls", "made again after a kill or fault cut one off", tally.repeated)
    report.row("dead letters", "written", tally.letters)
    report.row("dead letters", "stand at the end", len(run.window.letters.standing))
    report.counted("faults", run.blows.fell)
    _kafka(run, report)
    _workers(run, report)
    return report


def _kafka(run: Run, report: Report) -> None:
    tally, archive = run.window.tally, run.stage.archive
    positions = Counter[LogicalTopic]()
    for topic, position in archive.ends():
        positions[topic] += position
    # Each transaction ends in a marker in the journal: an offset that is no record.
    journal = LogicalTopic.JOURNAL
    report.row("Kafka", "transactions, aborted ones included", positions[journal] - tally.records[journal])
    report.counted("Kafka", {f"records of {topic}": number for topic, number in tally.records.items()})


def _workers(run: Run, report: Report) -> None:
    stage = run.stage
    logged: Counter[str] = sum((process.counts() for process in stage.processes), Counter())
    report.row("recovery", "from a kill to a partition open again", spread(_recovered(run)))
    report.row("recovery", "assignments of partitions", logged["partitions.assigned"])
    report.row("recovery", "shards opened", logged["shard.opened"])
    memory = memory_of(run.samples)
    report.row("processes", "workers started", len(stage.processes))
    report.row("processes", "most resident memory of a worker", f"{memory.most_mib:.0f} MiB")
    report.row("processes", "most open files of a worker", memory.most_files)
    if memory.lives:
        report.row(
            "processes",
            "resident memory of the longest life",
            f"{memory.grown_mib:+.1f} MiB in {memory.longest_s:.0f} s, slope {memory.slope_mib_h:+.0f} MiB/h",
        )
    for name, most in run.others.items():
        report.row("processes", f"most resident memory of {name}", f"{most / _MIB:.0f} MiB")
    report.row("logs", "lines", logged.total())
    report.row("logs", "size", f"{run.window.tally.log_bytes / _MIB:.1f} MiB")
    report.counted("logs", {event: number for event, number in logged.items() if event})


def _recovered(run: Run) -> list[int]:
    return recoveries(run.blows.struck, run.stage.lines())
