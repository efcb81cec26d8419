"""Finds out where the user time of this process goes: every millisecond of it, one look at the stack.

Python hands a signal over between two steps of its own: work of the event loop in C is found where it calls
Python next, and a long call into C (a signature) where it returns.
"""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

AREAS: Final = (
    ("signing and verifying", ("worker.signing", "worker.bench.bare_calls")),
    ("sealing and fingerprints", ("worker.sealing", "worker.shard.vault")),
    ("HTTP", ("worker.hub", "aiohttp", "httpx", "httpcore", "yarl", "multidict", "tenacity")),
    ("Kafka", ("worker.kafka", "aiokafka", "faststream")),
    ("contracts", ("contracts",)),
    ("saga", ("worker.saga",)),
    ("shard", ("worker.shard",)),
    ("telemetry", ("worker.telemetry", "structlog", "prometheus_client")),
    ("asyncio", ("asyncio",)),
)
"""Area → modules. The innermost module of the stack that stands here counts; what it calls counts for it."""

REST: Final = "rest"
"""Where nothing but the frames of the start was found."""
_START: Final = "asyncio.runners"

_EVERY_S: Final = 0.001


class Samples:
    """What was seen so far."""

    def __init__(self) -> None:
        self.areas: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()

    def look(self, _signal: int, frame: FrameType | None) -> None:
        """Count the innermost frame of a known area; a handler for SIGVTALRM."""
        while frame is not None:
            module = str(frame.f_globals.get("__name__", ""))
            area = None if module == _START else area_of(module)
            if area is not None:
                self.areas[area] += 1
                self.functions[f"{module}.{frame.f_code.co_qualname}"] += 1
                return
            frame = frame.f_back
        self.areas[REST] += 1


def area_of(module: str) -> str | None:
    """Return the area of a module, ``None`` if it stands in none."""
    for area, names in AREAS:
        for name in names:
            if module == name or module.startswith(f"{name}."):
                return area
    return None


@contextmanager
def sampling() -> Iterator[Samples]:
    """Sample while the block runs; costs about one per cent. Main thread only."""
    samples = Samples()
    before = signal.signal(signal.SIGVTALRM, samples.look)
    signal.setitimer(signal.ITIMER_VIRTUAL, _EVERY_S, _EVERY_S)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
