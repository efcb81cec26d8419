"""What a contestant's process is told, and what it reports: JSON on its standard input and output."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson


class BenchFailed(Exception):
    """The benchmark could not be run to its end; the text says why, and what a process of it said last."""


class Contestant(StrEnum):
    """Who runs. The order is the order of the table."""

    FLOOR = "floor"
    """A bare loop that only signs, calls, reads and sends; it promises nothing."""
    OURS = "ours"
    """This worker as it ships, all promises kept."""
    STOCK_SERIAL = "stock-serial"
    """FastStream, one handler at a time, httpx and tenacity."""
    STOCK_CONCURRENT = "stock-concurrent"
    """The same with 256 handlers."""
    STOCK_AIOHTTP = "stock-aiohttp"
    """The same with aiohttp in place of httpx: the best unsafe design."""


STOCK_HANDLERS = 256
"""``max_workers`` of the concurrent stock designs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One run of one contestant. Paths are absolute."""

    contestant: Contestant
    bootstrap_servers: str
    prefix: str
    """Of the topics, which are this run's own."""
    partitions: int
    warm_up: int
    """Sagas that are made before the measuring begins: modules are loaded and connections open then."""
    sagas: int
    in_flight: int
    """Calls at once, at most; the stock designs have their handlers instead."""
    base_url: str
    client_key: Path
    hub_public_key: Path
    settings_file: Path
    sampled: bool = False
    """Whether to look every millisecond of CPU time where it goes."""

    def to_json(self) -> str:
        """Write it for the child's command line; it holds no secret, only where key files lie."""
        return orjson.dumps(asdict(self), default=str).decode()

    @staticmethod
    def from_json(text: str) -> Errand:
        """Read what ``to_json`` wrote."""
        data: dict[str, Any] = orjson.loads(text)
        for name in ("client_key", "hub_public_key", "settings_file"):
            data[name] = Path(data[name])
        return Errand(**data | {"contestant": Contestant(data["contestant"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a contestant measured of itself between the first request and the last end."""

    cpu_s: float
    """User and system time of the process."""
    system_s: float
    """System time alone."""
    wall_s: float
    ended: int
    areas: dict[str, int] = field(default_factory=dict)
    """Where the user time was found, in samples, by area."""
    functions: dict[str, int] = field(default_factory=dict)
    """The functions of ours and of libraries that were found most often."""

    def to_json(self) -> bytes:
        """Write one line."""
        return orjson.dumps(self)

    @staticmethod
    def from_json(line: bytes) -> Report:
        """Read what ``to_json`` wrote. Raises ValueError or TypeError for anything else."""
        return Report(**orjson.loads(line))
