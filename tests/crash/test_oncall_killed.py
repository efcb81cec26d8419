"""The command line is killed while it orders, on real Kafka: a second run of it runs no saga twice."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson
import pytest

from contracts.topics import LogicalTopic, topic_name
from tests.crash.doom import Sentence, pronounce
from tests.crash.doomed_oncall import OnCallMoment
from tests.crash.theatre import open_theatre
from tests.crash.wire import WireMoment
from tests.faults.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.brokers.fixtures import Broker
    from tests.crash.theatre import Case, Theatre

pytestmark = pytest.mark.broker
_WITHIN_S: Final = 60.0
_NO_VERDICT, _REFUSED, _NOTHING_MATCHED = 1, 4, 5


@dataclass(frozen=True, slots=True)
class Errand:
    """One order of a person, and where the program dies that carries it out."""

    case: Case
    order: str
    moment: OnCallMoment | WireMoment

    @property
    def told(self) -> list[str]:
        """What is told of its saga in the end."""
        after = ["resumed", "revoked", "unbound"] if self.order == "replay" else ["discarded"]
        return ["requested", "allowed", "parked", *after]


BEFORE_A_WORKER: Final = (
    ("replay", OnCallMoment.PLANNED),
    ("replay", WireMoment.BATCH_SENT),
    ("replay", WireMoment.RECORD_ANSWERED),
    ("replay", OnCallMoment.PUBLISHED),
    ("discard", WireMoment.RECORD_ANSWERED),
)


@pytest.mark.promise("P7")
@pytest.mark.fault("SIGKILL of `letters replay` and `letters discard` at each moment of publishing")
async def test_a_second_run_runs_no_saga_twice(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Killed at any moment and run again, an order is applied once; what is left over is refused."""
    async with open_theatre(tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix) as theatre:
        theatre.hire()
        errands = [Errand(theatre.case("cancel-fail1"), *each) for each in BEFORE_A_WORKER]
        late = Errand(theatre.case("cancel-fail1"), "replay", OnCallMoment.JUDGED)
        for errand in (*errands, late):
            await errand.case.request()
        for errand in (*errands, late):
            await errand.case.reach("parked")
        # Nobody serves the first orders before all second runs have published theirs.
        theatre.kill()
        await asyncio.gather(*(_die(theatre, errand) for errand in errands))
        codes = await asyncio.gather(*(_run(theatre, errand, wait="500ms") for errand in errands))
        assert set(codes) == {_NO_VERDICT}
        theatre.hire()
        await _die(theatre, late)
        assert await _run(theatre, late, wait="20s") in {_REFUSED, _NOTHING_MATCHED}
        for errand in (*errands, late):
            await errand.case.reach(errand.told[-1])
        await theatre.judge()
        for errand in (*errands, late):
            assert await errand.case.told() == errand.told, errand
            assert (await errand.case.calls()).count("cancel_token") == 1 + (errand.order == "replay")
            rulings = await _rulings(errand.case)
            assert rulings.count("applied") == 1, errand
            assert rulings.count("refused") == len(rulings) - 1, errand
        assert len(await _rulings(errands[0].case)) == 1, "killed before it published, it has ordered nothing"
        assert len(await _rulings(errands[3].case)) == 2, "killed after it published, both orders stand"


async def _die(theatre: Theatre, errand: Errand) -> None:
    """Run the order, and see that the program dies at its moment."""
    sentence = theatre.stage.directory / f"order-{errand.case.binding}.json"
    pronounce(Sentence(point=errand.moment), sentence)
    with _command(theatre, errand, ["tests.crash.doomed_oncall", str(sentence)], wait="20s") as child:
        code = await child.ended(within_s=_WITHIN_S)
        assert code == -signal.SIGKILL, child.told()
        assert f"killed at {errand.moment}\n" in child.output.read_text(), child.told()


async def _run(theatre: Theatre, errand: Errand, *, wait: str) -> int:
    """Run the order to its end, and return the exit code."""
    with _command(theatre, errand, ["worker"], wait=wait) as child:
        return await child.ended(within_s=_WITHIN_S)


@contextmanager
def _command(theatre: Theatre, errand: Errand, program: list[str], *, wait: str) -> Iterator[Child]:
    stage = theatre.stage
    key = _letter_key(errand.case)
    name = f"{program[0]}-{errand.case.binding}"
    child = Child(
        program[0],
        [
            *program[1:],
            *("letters", errand.order, key, "--why", "a test", "--by", "kim", "--yes", "--timeout", wait),
            *("--config", str(stage.directory / f"{stage.processes[0].name}.toml")),
        ],
        output=stage.directory / f"{name}.log",
        errors=stage.directory / f"{name}.err",
    )
    try:
        yield child
    finally:
        child.kill()


def _letter_key(case: Case) -> str:
    """Return the key of the letter that the binding's saga has or had."""
    archive = case.theatre.stage.archive
    states = archive.archive(topic_name(LogicalTopic.STATES), case.partition)
    events = [orjson.loads(record.value or b"") for record in states]
    (key,) = {event["sagaId"] for event in events if event["bindingId"] == case.binding}
    return str(key)


async def _rulings(case: Case) -> list[str]:
    """Return how the commands for a binding's saga ended."""
    archive = case.theatre.stage.archive
    await archive.catch_up()
    records = archive.archive(topic_name(LogicalTopic.VERDICTS), case.partition)
    verdicts = [orjson.loads(record.value or b"") for record in records]
    key = _letter_key(case)
    return [verdict["ruling"] for verdict in verdicts if verdict["letter"] == key]
