"""A soak of less than a minute on a broker of its own: what `make soak` plays for longer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from contracts.topics import LogicalTopic
from tests.soak.course import soak
from tests.soak.outcome import Course

if TYPE_CHECKING:
    from pathlib import Path

    from worker.sandbox.local_kafka import LocalKafka

COURSE = Course(seed=1, for_s=45, rate=20, look_s=15)


@pytest.mark.broker
@pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P10", "P11")
@pytest.mark.fault("workers, broker and payment side killed, stopped and misbehaving at random, at once")
async def test_promises_hold(private_broker: LocalKafka, prefix: str, tmp_path: Path) -> None:
    """Under load, with everything hurt at random, no promise breaks, and all comes to rest by itself."""
    outcome = await soak(COURSE, directory=tmp_path, kafka=private_broker, prefix=prefix, say=_say)
    assert outcome.good, outcome.told()
    assert outcome.report is not None
    figures = {(section, name): value for section, name, value in outcome.report.rows}
    # It proves nothing if there was no load, or no fault.
    assert int(figures["sent", LogicalTopic.REQUESTS]) > 300
    assert int(figures["sent", LogicalTopic.COMMANDS]) > 10
    assert int(figures["verdicts", "replay applied"]) > 0
    assert sum(section == "faults" for section, _ in figures) >= 5
    assert figures["course", "unbinding verify"] == "exit code 0"
    assert figures["course", "restart at rest"] == "changed nothing"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
