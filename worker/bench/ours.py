"""The worker as it ships: its wiring, its settings, its telemetry at log level warning."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from typing_extensions import override

from worker.settings import load
from worker.telemetry import Level, LogEvent, Metric, Metrics, Observer, make_logger
from worker.wiring import Worker, calm_collector

if TYPE_CHECKING:
    from worker.bench.errand import Errand
    from worker.bench.meter import Tally
    from worker.settings import Settings


async def run_ours(errand: Errand, tally: Tally) -> None:
    """Work until cancelled, then drain."""
    tally.before_warm(errand.partitions)  # all shards are open before anything is measured
    calm_collector()  # as `unbinding run` does
    async with Worker.open(settings_of(errand), observer=_counting(tally)) as worker:
        await worker.run()


def settings_of(errand: Errand) -> Settings:
    """Read the settings file, and let as many calls through as the errand allows."""
    in_flight = str(errand.in_flight)
    return load(
        environ={
            "UNBINDING_LIMITS__IN_FLIGHT": in_flight,
            "UNBINDING_COUNTERPARTS__HUB__IN_FLIGHT": in_flight,
            "UNBINDING_COUNTERPARTS__TOKENS__IN_FLIGHT": in_flight,
            "UNBINDING_COUNTERPARTS__HUB__RATE": "100000",
            "UNBINDING_COUNTERPARTS__TOKENS__RATE": "100000",
        },
        config=errand.settings_file,
    ).settings


class _CountingObserver(Observer):
    """Tells the tally what has ended: the worker says so once it is committed."""

    __slots__ = ("_opened", "_tally")

    _opened: set[object]
    _tally: Tally

    def count_for(self, tally: Tally) -> None:
        self._opened = set()
        self._tally = tally

    @override
    def log(self, event: str, **fields: object) -> None:
        super().log(event, **fields)
        if event == LogEvent.SAGA_FINISHED:
            self._tally.ended()
        elif event == LogEvent.SHARD_OPENED and fields["partition"] not in self._opened:
            self._opened.add(fields["partition"])
            self._tally.ended()


def _counting(tally: Tally) -> Observer:
    metrics = Metrics()
    logger = make_logger(
        stream=sys.stderr,
        style="json",
        clock=lambda: time.time_ns() // 1_000_000,
        dropped=lambda count: metrics.count(Metric.LOG_FIELDS_DROPPED, count),
        least=Level.WARNING,
    )
    observer = _CountingObserver(logger=logger, metrics=metrics)
    observer.count_for(tally)
    return observer
