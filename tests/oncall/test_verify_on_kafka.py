"""`unbinding verify` on a real Apache Kafka, with a real worker and the sandbox's ledger of calls."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from contracts.cloudevents import event_headers
from contracts.states import BINDING_STATE_CHANGED, State, encode_state_changed, state_event_id
from contracts.topics import LogicalTopic, partition_of
from tests.faults.load import Load, send
from tests.faults.rounds import at_rest
from tests.faults.stage import PARTITIONS, now_ms, open_stage
from tests.kafka.bench import KafkaBench
from worker.oncall.command_line import app
from worker.oncall.outside import Outside
from worker.verify.violations import PROMISES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.faults.stage import Stage

pytestmark = [
    pytest.mark.broker,
    pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"),
]


@pytest.mark.fault("a forged event among the states; a position that stands still")
async def test_verify_proves_a_sound_cluster_and_finds_a_forged_event(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    """After a load of a real worker all is proven, live and at rest; with one forged event it is found."""
    async with open_stage(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as stage:
        stage.hire("a")
        await stage.settled()
        load = Load(random=Random(11), partitions=PARTITIONS, begins_at=now_ms())  # noqa: S311 - a seed, no secret
        load.plan(60, over_ms=2_000)
        servers = stage.connection.bootstrap_servers
        sending = asyncio.create_task(send(load.planned, bootstrap_servers=servers, topic=stage.requests))
        live, _ = await _verify(stage)
        assert live == 0
        await sending
        await at_rest(stage)
        code, lines = await _verify(stage, "--at-rest", "--ledger", stage.payment_url)
        assert code == 0, lines
        results = {line["promise"]: line["result"] for line in lines}
        assert {name for name, result in results.items() if result == "kept"} >= PROMISES.keys() - {"P7"}
        assert lines[0]["checked"]["requests"] >= 60
        _, lines = await _verify(stage, "--since", "1h")
        assert lines[0]["checked"]["requests"] >= 60
        _, lines = await _verify(stage, "--until", "1h")
        # The journal has no past: what stands in it now is searched for tokens all the same.
        assert {line["promise"] for line in lines if _more_than_none(line["checked"])} <= {"P8"}
        await _forge(stage)
        code, lines = await _verify(stage, "--at-rest", "--ledger", stage.payment_url)
        assert code == 1
        kinds = {line["kind"] for line in lines if "kind" in line}
        assert "event.of_no_request" in kinds
        assert {line["records"][0]["saga"] for line in lines if "kind" in line} == {"forged"}


def _more_than_none(checked: dict[str, int]) -> dict[str, int]:
    return {what: count for what, count in checked.items() if count}


async def _verify(stage: Stage, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    config = str(stage.directory / "a-1.toml")
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["verify", "--config", config, "--json", *arguments], obj=Outside(environ={})
    )
    assert result.exit_code in (0, 1), result.output
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


async def _forge(stage: Stage) -> None:
    """Write an event of a saga that never was, as well as its contract asks."""
    binding, at = "forged-binding", now_ms()
    value = encode_state_changed(
        binding_id=binding, saga_id="forged", request_ids=["r"], sequence=1, state=State.REQUESTED, at=at
    )
    headers = event_headers(
        event_id=state_event_id("forged", 1), source="/forger", event_type=BINDING_STATE_CHANGED, at=at
    )
    await KafkaBench(stage.connection.bootstrap_servers, stage.prefix).append(
        LogicalTopic.STATES,
        partition_of(binding, PARTITIONS),
        key=binding.encode(),
        value=value,
        headers=tuple(headers),
    )
