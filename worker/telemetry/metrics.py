"""The closed list of metrics, with their labels and the values that these may take; exported for Prometheus.

Inside, durations are `int` milliseconds and times milliseconds since the epoch; they are exported in seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from contracts.states import Reason, State, Step

SECONDS: Final = 0.001
"""Scale of metrics that are given in milliseconds."""

_CALL_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0)
_COMMIT_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)
_RECORD_BUCKETS: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0)
_RESTORE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

STEPS: Final = frozenset(step.value for step in Step)
STATES: Final = frozenset(state.value for state in State)
REASONS: Final = frozenset(reason.value for reason in Reason)
RESULT_CLASSES: Final = frozenset(
    {
        "done",
        "done_already",
        "refused",
        "soon",
        "slowly",
        "confirm_first",
        "still_live",
        "line_stop",
        "final",
    }
)
SHARD_STATES: Final = frozenset({"closed", "claiming", "open", "draining"})
COMMANDS: Final = frozenset({"replay", "discard"})
VERDICTS: Final = frozenset({"applied", "refused"})
TRANSACTION_CAUSES: Final = frozenset({"fenced", "interrupted", "refused"})

Series = Counter | Gauge | Histogram


class UnknownSeries(Exception):
    """A metric was used as another kind, or with a label, or a value of one, that is not in its list."""


class Kind(StrEnum):
    """What can be done with a metric."""

    COUNTER = "counter"
    """Only goes up: `count`."""
    GAUGE = "gauge"
    """Is what it is now: `gauge`."""
    HISTOGRAM = "histogram"
    """Many observations: `observe`."""


class Metric(StrEnum):
    """Every metric of the worker; counters get `_total` at their end when they are exported."""

    TRANSITIONS = "unbinding_transitions"
    """Transitions committed, by state entered."""
    LETTERS = "unbinding_letters"
    """Dead letters written, by reason."""
    LETTERS_RESOLVED = "unbinding_letters_resolved"
    """Dead letters removed."""
    COMMANDS = "unbinding_commands"
    """Commands ended, by kind and verdict."""
    TRANSACTION_FAILURES = "unbinding_transaction_failures"
    """Transactions not committed, by cause."""
    LEASE_LOSSES = "unbinding_lease_losses"
    """How often membership was not proven any more."""
    LOG_FIELDS_DROPPED = "unbinding_log_fields_dropped"
    """Fields that were not fit for a log line: a mistake in the code."""
    SERIES_REFUSED = "unbinding_series_refused"
    """Uses of a metric that its closed list does not know: a mistake in the code."""

    LIVE_SAGAS = "unbinding_live_sagas"
    """Live sagas in memory, by partition."""
    LIVE_BYTES = "unbinding_live_bytes"
    """Bytes of live sagas, by partition."""
    WAITING_TIMERS = "unbinding_waiting_timers"
    """Durable timers that run, by partition."""
    SHARD_STATE = "unbinding_shard_state"
    """1 for the state that a shard is in, by partition and state."""
    LETTERS_OPEN = "unbinding_letters_open"
    """Dead letters that stand, by partition."""
    REMEMBERED_HORIZON = "unbinding_remembered_horizon_seconds"
    """How far back finished requests are known, by partition."""
    INFO = "unbinding_worker_info"
    """1; its labels say version and profile."""

    CALL = "unbinding_call_seconds"
    """Duration of calls, by step and result class."""
    COMMIT = "unbinding_commit_seconds"
    """Duration of transactions."""
    COMMIT_RECORDS = "unbinding_commit_records"
    """Records of a transaction."""
    RESTORE = "unbinding_restore_seconds"
    """Duration of reading a journal partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a metric is made of."""

    kind: Kind
    help: str
    labels: Mapping[str, frozenset[str] | None]
    """Label to its closed list of values; `None` for a partition number or a word of the settings."""
    scale: float = 1.0
    """What a value is multiplied with when it is exported."""
    buckets: tuple[float, ...] = ()


def _counter(text: str, **labels: frozenset[str] | None) -> Spec:
    return Spec(kind=Kind.COUNTER, help=text, labels=labels)


def _gauge(text: str, *, scale: float = 1.0, **labels: frozenset[str] | None) -> Spec:
    return Spec(kind=Kind.GAUGE, help=text, labels=labels, scale=scale)


def _histogram(
    text: str, buckets: tuple[float, ...], *, scale: float = 1.0, **labels: frozenset[str] | None
) -> Spec:
    return Spec(kind=Kind.HISTOGRAM, help=text, labels=labels, scale=scale, buckets=buckets)


SPECS: Final[Mapping[Metric, Spec]] = MappingProxyType(
    {
        Metric.TRANSITIONS: _counter("Transitions committed.", state=STATES),
        Metric.LETTERS: _counter("Dead letters written.", reason=REASONS),
        Metric.LETTERS_RESOLVED: _counter("Dead letters removed."),
        Metric.COMMANDS: _counter("Commands ended.", command=COMMANDS, verdict=VERDICTS),
        Metric.TRANSACTION_FAILURES: _counter("Transactions not committed.", cause=TRANSACTION_CAUSES),
        Metric.LEASE_LOSSES: _counter("Membership not proven any more."),
        Metric.LOG_FIELDS_DROPPED: _counter("Fields not fit for a log line."),
        Metric.SERIES_REFUSED: _counter("Uses of a metric that its list does not know."),
        Metric.LIVE_SAGAS: _gauge("Live sagas in memory.", partition=None),
        Metric.LIVE_BYTES: _gauge("Bytes of live sagas.", partition=None),
        Metric.WAITING_TIMERS: _gauge("Durable timers that run.", partition=None),
        Metric.SHARD_STATE: _gauge("1 for the state of a shard.", partition=None, state=SHARD_STATES),
        Metric.LETTERS_OPEN: _gauge("Dead letters that stand.", partition=None),
        Metric.REMEMBERED_HORIZON: _gauge(
            "How far back finished requests are known.", scale=SECONDS, partition=None
        ),
        Metric.INFO: _gauge("Version and profile.", version=None, profile=None),
        Metric.CALL: _histogram(
            "Duration of calls.", _CALL_BUCKETS, scale=SECONDS, step=STEPS, result_class=RESULT_CLASSES
        ),
        Metric.COMMIT: _histogram("Duration of transactions.", _COMMIT_BUCKETS, scale=SECONDS),
        Metric.COMMIT_RECORDS: _histogram("Records of a transaction.", _RECORD_BUCKETS),
        Metric.RESTORE: _histogram(
            "Duration of reading a journal partition.", _RESTORE_BUCKETS, scale=SECONDS
        ),
    }
)
"""One entry for each metric."""

_PARTITION: Final = "partition"
_PARTITION_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,5}")
_FREE_MOST: Final = 64
_CLASSES: Final = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.HISTOGRAM: Histogram}


class Metrics:
    """The metrics of one worker, in a registry of their own; only its loop uses them."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._parents: Final = {metric: self._make(metric, spec) for metric, spec in SPECS.items()}
        # A child is looked up once for each set of labels: prometheus_client locks on each look-up.
        self._children: Final[dict[tuple[str, frozenset[tuple[str, object]]], Series]] = {}

    def count(self, metric: str, n: int = 1, **labels: str | int) -> None:
        """Count `n` more. Raises `UnknownSeries`."""
        series = self._series(metric, labels)
        if not isinstance(series, Counter):
            raise UnknownSeries(f"{metric} is no counter")
        series.inc(n)

    def gauge(self, metric: str, value: float, **labels: str | int) -> None:
        """Say what something is now, durations in ms. Raises `UnknownSeries`."""
        series = self._series(metric, labels)
        if not isinstance(series, Gauge):
            raise UnknownSeries(f"{metric} is no gauge")
        series.set(value * SPECS[Metric(metric)].scale)

    def observe(self, metric: str, value: float, **labels: str | int) -> None:
        """Add an observation, durations in ms. Raises `UnknownSeries`."""
        series = self._series(metric, labels)
        if not isinstance(series, Histogram):
            raise UnknownSeries(f"{metric} is no histogram")
        series.observe(value * SPECS[Metric(metric)].scale)

    def forget_partition(self, partition: int) -> None:
        """Remove the series of a partition that is no longer ours: another worker reports them now."""
        gone: set[tuple[Metric, tuple[str, ...]]] = set()
        for key in list(self._children):
            labels = dict(key[1])
            if str(labels.get(_PARTITION)) == str(partition):
                del self._children[key]
                metric = Metric(key[0])
                gone.add((metric, tuple(str(labels[name]) for name in SPECS[metric].labels)))
        for metric, values in gone:
            self._parents[metric].remove(*values)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _make(self, metric: Metric, spec: Spec) -> Series:
        options = {"buckets": spec.buckets} if spec.buckets else {}
        made: Series = _CLASSES[spec.kind](
            metric.value, spec.help, labelnames=tuple(spec.labels), registry=self.registry, **options
        )
        return made

    def _series(self, metric: str, labels: Mapping[str, str | int]) -> Series:
        key = (metric, frozenset(labels.items()))
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = self._resolve(metric, labels)
        return found

    def _resolve(self, text: str, labels: Mapping[str, str | int]) -> Series:
        try:
            metric = Metric(text)
        except ValueError:
            raise UnknownSeries("the metric is not in the list: add it to Metric with its meaning") from None
        spec = SPECS[metric]
        if set(labels) != set(spec.labels):
            raise UnknownSeries(f"{metric} has the labels {sorted(spec.labels)}, not {sorted(labels)}")
        for name, value in labels.items():
            _check_label(metric, name, value, spec.labels[name])
        parent: Series = self._parents[metric]
        if not spec.labels:
            return parent
        child: Series = parent.labels(*(str(labels[name]) for name in spec.labels))
        return child


def _check_label(metric: Metric, name: str, value: str | int, closed: frozenset[str] | None) -> None:
    if name == _PARTITION:
        known = _PARTITION_NUMBER.fullmatch(str(value)) is not None
    elif closed is None:
        known = isinstance(value, str) and 0 < len(value) <= _FREE_MOST and value.isprintable()
    else:
        known = value in closed
    if not known:
        # The value is not told: it is not in the list, so it could be anything.
        raise UnknownSeries(f"{metric} has no such value of the label {name}")
