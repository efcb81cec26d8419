"""Metrics from closed lists, and the observer over logs and metrics."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.states import Step
from worker import telemetry
from worker.saga.results import ResultClass
from worker.telemetry import LogEvent, Metric, Metrics, Observer, UnknownSeries, make_logger
from worker.telemetry.metrics import RESULT_CLASSES, SPECS, Kind

if TYPE_CHECKING:
    from worker import ports


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return what is exported under a name."""
    return metrics.registry.get_sample_value(name, labels)


def observer(metrics: Metrics, stream: io.StringIO, *, strict: bool = False) -> Observer:
    """Return an observer over these metrics that logs to a stream."""
    logger = make_logger(
        stream=stream,
        style="json",
        clock=lambda: 0,
        dropped=lambda n: metrics.count(Metric.LOG_FIELDS_DROPPED, n),
        strict=strict,
    )
    return Observer(logger=logger, metrics=metrics, strict=strict)


def test_every_metric_is_specified_and_well_named() -> None:
    """Each metric has a specification, our prefix, and a unit in its name where it is scaled."""
    assert set(SPECS) == set(Metric)
    for metric, spec in SPECS.items():
        assert metric.startswith("unbinding_")
        assert not metric.endswith("_total")
        assert (spec.scale != 1.0) is metric.endswith("_seconds")
        assert bool(spec.buckets) is (spec.kind is Kind.HISTOGRAM)


def test_every_metric_is_fed() -> None:
    """No metric is exported that nobody feeds: an alert on it could never fire."""
    rooms = Path(telemetry.__file__).parents[1]
    written = "".join(
        file.read_text(encoding="utf-8") for file in rooms.rglob("*.py") if file.name != "metrics.py"
    )
    unfed = {
        metric for metric in Metric if f'"{metric}"' not in written and f"Metric.{metric.name}" not in written
    }
    assert unfed == set()


def test_closed_lists_are_those_of_the_rules() -> None:
    """The words of labels are the words of the saga."""
    assert frozenset(each.value for each in ResultClass) == RESULT_CLASSES


def test_milliseconds_are_exported_in_seconds() -> None:
    """Durations are given in milliseconds and exported in seconds."""
    metrics = Metrics()
    metrics.observe(Metric.CALL, 250, step=Step.CONSULT, result_class=ResultClass.DONE)
    metrics.gauge(Metric.REMEMBERED_HORIZON, 1_500, partition=0)
    assert value(metrics, "unbinding_call_seconds_sum", step="consult", result_class="done") == 0.25
    assert value(metrics, "unbinding_remembered_horizon_seconds", partition="0") == 1.5


def test_labels_may_come_in_any_order() -> None:
    """The order of labels does not matter to the series."""
    metrics = Metrics()
    metrics.count(Metric.COMMANDS, command="replay", verdict="applied")
    metrics.count(Metric.COMMANDS, 2, verdict="applied", command="replay")
    assert value(metrics, "unbinding_commands_total", command="replay", verdict="applied") == 3


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (Metric.LETTERS, {}),
        (Metric.LETTERS, {"reason": "boredom"}),
        (Metric.LETTERS, {"reason": "failed", "binding": "b"}),
        (Metric.LIVE_SAGAS, {"partition": 0}),
    ],
)
def test_what_is_not_listed_is_refused(metric: Metric, labels: dict[str, str | int]) -> None:
    """A label, a value of one, or a use that is not in the list is refused, without its value."""
    with pytest.raises(UnknownSeries) as raised:
        Metrics().count(metric, 1, **labels)
    assert "boredom" not in str(raised.value)


@pytest.mark.parametrize("partition", ["03", -1, "x"])
def test_a_partition_is_a_number(partition: str | int) -> None:
    """The label `partition` takes numbers only, so that its series can be forgotten."""
    with pytest.raises(UnknownSeries):
        Metrics().gauge(Metric.LIVE_SAGAS, 1, partition=partition)


def test_a_partition_that_left_is_forgotten() -> None:
    """The series of a partition that is no longer ours go, those of others stay, and it can come back."""
    metrics = Metrics()
    for partition in (3, 4):
        metrics.gauge(Metric.SHARD_STATE, 1, partition=partition, state="open")
        metrics.gauge(Metric.LIVE_SAGAS, 7, partition=partition)
    metrics.gauge(Metric.LIVE_SAGAS, 7, partition="3")
    metrics.forget_partition(3)
    assert value(metrics, "unbinding_shard_state", partition="3", state="open") is None
    assert value(metrics, "unbinding_live_sagas", partition="3") is None
    assert value(metrics, "unbinding_live_sagas", partition="4") == 7
    metrics.gauge(Metric.LIVE_SAGAS, 1, partition=3)
    assert value(metrics, "unbinding_live_sagas", partition="3") == 1


def test_the_exposition_can_be_parsed() -> None:
    """What is served is Prometheus' text format."""
    families = text_string_to_metric_families(Metrics().exposition().decode())
    assert {family.name for family in families} >= {
        metric.value for metric in Metric if not SPECS[metric].labels
    }


def test_an_observer_logs_with_what_it_is_bound_to() -> None:
    """A bound observer adds its fields to each line; a field named like a part of it is no trouble."""
    stream = io.StringIO()
    observer(Metrics(), stream).bound(partition=3).bound(logger="x").log(LogEvent.SHARD_OPENED, sagas=2)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["partition"], line["logger"], line["sagas"]) == ("shard.opened", 3, "x", 2)


def test_a_mistake_in_telemetry_stops_nothing() -> None:
    """In production wrong labels and fields are counted, and neither raise nor leak."""
    metrics, stream = Metrics(), io.StringIO()
    observed = observer(metrics, stream)
    observed.count(Metric.LETTERS, reason="boredom")
    observed.observe(Metric.LETTERS, 1)
    observed.gauge(Metric.CALL, 1)
    observed.log(LogEvent.SHARD_OPENED, token="t")
    observed.count("unbinding_boredom")
    observed.log("worker.yawned", count=1)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["shard.opened", "event.misnamed"]
    assert lines[1]["name"] == "worker.yawned"
    assert value(metrics, "unbinding_series_refused_total") == 4
    assert value(metrics, "unbinding_log_fields_dropped_total") == 1


def test_an_observer_is_what_a_shard_asks_for() -> None:
    """The observer has the form that the shard's port asks for, with plain text for names."""
    metrics, stream = Metrics(), io.StringIO()
    port: ports.Observer = observer(metrics, stream, strict=True).bound(partition=3)
    port.log("shard.opened", sagas=1, error=None)
    port.gauge("unbinding_live_sagas", 1, partition="3")
    assert value(metrics, "unbinding_live_sagas", partition="3") == 1
    assert json.loads(stream.getvalue())["event"] == "shard.opened"


def test_a_mistake_in_telemetry_fails_a_test() -> None:
    """Where telemetry is strict a wrong label raises."""
    with pytest.raises(UnknownSeries):
        observer(Metrics(), io.StringIO(), strict=True).count(Metric.LETTERS, reason="boredom")
