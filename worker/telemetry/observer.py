"""What a shard tells the world of itself: one object with small methods, over the logger and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.telemetry.metrics import Metric, UnknownSeries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.telemetry.logs import Logger
    from worker.telemetry.metrics import Metrics


class Observer:
    """Logs and measures; `bound` gives one that adds fields to each line.

    A wrong name or label is a mistake in the code. It is counted and costs no more than its own value:
    telemetry must not stop a shard. With `strict` (tests) it raises `UnknownSeries`.
    """

    __slots__ = ("_fields", "_logger", "_metrics", "_strict")

    def __init__(
        self,
        *,
        logger: Logger,
        metrics: Metrics,
        fields: Mapping[str, object] | None = None,
        strict: bool = False,
    ) -> None:
        self._logger = logger
        self._metrics = metrics
        self._fields = dict(fields or {})
        self._strict = strict

    def bound(self, **fields: object) -> Observer:
        """Return an observer whose log lines have these fields, too, such as `partition=3`."""
        return Observer(
            logger=self._logger,
            metrics=self._metrics,
            fields={**self._fields, **fields},
            strict=self._strict,
        )

    def log(self, event: str, **fields: object) -> None:
        """Write one log line at the event's level; `error` is an exception."""
        self._logger.log(event, **{**self._fields, **fields})

    def count(self, metric: str, n: int = 1, **labels: str | int) -> None:
        """Count `n` more."""
        try:
            self._metrics.count(metric, n, **labels)
        except UnknownSeries as error:
            self._refuse(error)

    def observe(self, metric: str, value: float, **labels: str | int) -> None:
        """Add an observation, durations in milliseconds."""
        try:
            self._metrics.observe(metric, value, **labels)
        except UnknownSeries as error:
            self._refuse(error)

    def gauge(self, metric: str, value: float, **labels: str | int) -> None:
        """Say what something is now, durations in milliseconds."""
        try:
            self._metrics.gauge(metric, value, **labels)
        except UnknownSeries as error:
            self._refuse(error)

    def forget_partition(self, partition: int) -> None:
        """Remove the series of a partition that is no longer ours."""
        self._metrics.forget_partition(partition)

    def _refuse(self, error: UnknownSeries) -> None:
        if self._strict:
            raise error
        self._metrics.count(Metric.SERIES_REFUSED)
