"""What a soak has measured: samples of processes, recoveries, and the report of it all."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.faults.diary import Line
    from tests.soak.blows import Struck

WARM_S: Final = 45.0
"""A process that has just started grows: caches, pools, the first connections."""
_LONG_S: Final = 120.0
"""A life that is long enough, after that, to tell a slope."""
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process."""

    at_s: float
    rss_bytes: int
    files: int


def sample(pid: int, *, at_s: float) -> Sample | None:
    """Look at a process; `None` if it has gone, or this system has no /proc."""
    place = Path("/proc") / str(pid)
    try:
        pages = int((place / "statm").read_text(encoding="ascii").split()[1])
        files = len(os.listdir(place / "fd"))  # noqa: PTH208 - names only, in a directory that changes
    except (OSError, IndexError):
        return None
    return Sample(at_s, pages * _PAGE_BYTES, files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the samples of the workers say."""

    most_mib: float
    most_files: int
    lives: int
    """How many processes lived long enough to tell a slope."""
    longest_s: float
    slope_mib_h: float
    """Of the longest life, the time of warming up left out."""
    grown_mib: float
    """By how much it grew in that time."""


def memory_of(samples: Mapping[str, Sequence[Sample]]) -> Memory:
    """Sum up the samples of all processes."""
    everything = [found for life in samples.values() for found in life]
    long = [life for life in map(_warm, samples.values()) if len(life) > 2 and _span(life) >= _LONG_S]
    longest = max(long, key=_span, default=[])
    slope = 0.0
    if longest:
        times = [found.at_s for found in longest]
        slope = linear_regression(times, [found.rss_bytes / _MIB for found in longest]).slope * 3600
    return Memory(
        most_mib=max((found.rss_bytes for found in everything), default=0) / _MIB,
        most_files=max((found.files for found in everything), default=0),
        lives=len(long),
        longest_s=_span(longest) if longest else 0.0,
        slope_mib_h=slope,
        grown_mib=(longest[-1].rss_bytes - longest[0].rss_bytes) / _MIB if longest else 0.0,
    )


def _warm(life: Sequence[Sample]) -> list[Sample]:
    return [found for found in life if found.at_s >= life[0].at_s + WARM_S]


def _span(life: Sequence[Sample]) -> float:
    return life[-1].at_s - life[0].at_s


def recoveries(struck: Iterable[Struck], lines: Iterable[Line]) -> list[int]:
    """Return, for each partition of each killed worker, the ms until somebody had opened it again."""
    opened: dict[int, list[int]] = defaultdict(list)
    for line in lines:
        if line.event == "shard.opened":
            for partition in line.partitions:
                opened[partition].append(line.at)
    found = []
    for blow in struck:
        for partition in blow.partitions:
            later = [at - blow.began_at for at in opened[partition] if at > blow.began_at]
            if later:
                found.append(min(later))
    return sorted(found)


@dataclass(slots=True)
class Report:
    """Figures in sections, as text and as a table."""

    title: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def row(self, section: str, name: str, value: object) -> None:
        """Add a figure."""
        self.rows.append((section, name, str(value)))

    def counted(self, section: str, counts: Mapping[str, int]) -> None:
        """Add counts, the largest first."""
        for name, number in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])):
            self.row(section, name, number)

    def text(self) -> str:
        """Return it for a terminal."""
        width = max((len(name) for _, name, _ in self.rows), default=0)
        lines = [self.title]
        last = ""
        for section, name, value in self.rows:
            if section != last:
                lines += ["", f"{section}:"]
                last = section
            lines.append(f"  {name:{width}}  {value}")
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """Return it for a note: one row a section."""
        sections: dict[str, list[str]] = defaultdict(list)
        for section, name, value in self.rows:
            sections[section].append(f"{name} {value}")
        body = [f"| {section} | {' · '.join(figures)} |" for section, figures in sections.items()]
        return "\n".join([f"**{self.title}**", "", "| what | figures |", "|---|---|", *body]) + "\n"


def spread(values: Sequence[int]) -> str:
    """Say how a list of milliseconds is spread."""
    if not values:
        return "none"
    return f"p50 {median(values) / 1000:.1f} s, max {max(values) / 1000:.1f} s, of {len(values)}"
