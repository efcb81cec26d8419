"""One round of faults of each kind under load, on real Kafka with real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.rounds import Course, play
from tests.faults.schedule import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers.fixtures import Broker

pytestmark = pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")

COURSES = (
    Course(seed=1, kinds=frozenset({Kind.KILL})),
    Course(seed=3, kinds=frozenset({Kind.TERM})),
    Course(seed=4, kinds=frozenset({Kind.STOP})),
    Course(seed=5, kinds=frozenset({Kind.SCALE})),
)


def _name(course: Course) -> str:
    return "-".join([*sorted(course.kinds), *(["static"] if course.static else [])])


@pytest.mark.broker
@pytest.mark.parametrize("course", COURSES, ids=_name)
async def test_promises_hold(course: Course, broker: Broker, prefix: str, tmp_path: Path) -> None:
    """Workers hurt at random under load lose nothing, repeat no event, and begin no call unlawfully."""
    outcome = await play(
        course, directory=tmp_path, bootstrap_servers=broker.bootstrap_servers, prefix=prefix
    )
    assert outcome.good, outcome.told()
    assert outcome.sent == course.requests
    assert outcome.done.keys() == course.kinds
    # Neither proves the load anything if it had not come to all ends.
    assert {"unbound", "refused", "parked", "joined", "waiting"} <= outcome.states.keys()
