"""The benchmark as a person runs it, on a real Kafka."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers.fixtures import Broker
from worker.bench.errand import Contestant

_ROOT = Path(__file__).resolve().parents[2]
_BOUND_S = 240


@pytest.mark.broker
def test_a_quick_benchmark_measures_everyone_and_ends_well(broker: Broker) -> None:
    """`unbinding bench --quick` ends with exit code 0, has a row for all, and every figure is measured."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "bench", "--quick", "--sagas", "16", "--partitions", "2", "--json"],
        cwd=_ROOT,
        env={"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=_BOUND_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(line["scene"], line["contestant"]) for line in lines if line["kind"] == "row"}
    assert found == {
        *((scene, contestant.value) for scene in ("0 ms", "200 ms") for contestant in Contestant),
        ("idle", "ours"),
        ("idle", "stock-serial"),
    }
    figures = [line for line in lines if line["kind"] == "figure"]
    assert len(figures) == 7
    assert all(line["value"] > 0 for line in figures)
    shares = [line["share"] for line in lines if line["kind"] == "share"]
    assert sum(shares) == pytest.approx(1.0)
