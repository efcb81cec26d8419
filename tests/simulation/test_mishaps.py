"""Small scenarios with a mishap before each step: wherever a worker is hurt, everything ends as it should."""

from __future__ import annotations

import pytest

from tests.simulation.crash_points import awaits
from tests.simulation.small import Mishap
from tests.simulation.systematic import Struck, courses, strike_all

NO_CRASH_POINTS = {
    # What the awaited function would wait for is already done, whatever led there.
    "await self._calls.cut()  # _run": "_live_once has cut all calls before it returns",
}
"""Awaits at which no kill can find a shard, and why."""


@pytest.fixture(scope="module")
def killed() -> Struck:
    """Kill a worker before each step of each scenario."""
    return strike_all(courses(Mishap.KILL, stride=1))


@pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")
@pytest.mark.fault("simulated: a kill before each step of four small scenarios")
def test_kill_before_every_step(killed: Struck) -> None:
    """Wherever a worker is killed, every promise is kept and every saga ends as it does without a kill."""
    assert not killed.bad, killed.bad[0]
    assert killed.runs > 1_000


@pytest.mark.promise("P1", "P2")
def test_every_await_of_the_shard_was_a_crash_point(killed: Struck) -> None:
    """At each await in the shard's room a kill found it waiting at least once."""
    spared = {point for point, text in awaits().items() if text.says in NO_CRASH_POINTS}
    missed = {point: awaits()[point].says for point in set(awaits()) - killed.points - spared}
    assert not missed
    assert not spared & killed.points


@pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7")
@pytest.mark.parametrize(
    "mishap",
    [
        pytest.param(
            Mishap.FREEZE,
            marks=pytest.mark.fault("simulated: frozen beyond its session before each fifth step"),
        ),
        pytest.param(
            Mishap.MOVE, marks=pytest.mark.fault("simulated: moved away and back before each fifth step")
        ),
    ],
)
def test_freeze_and_move_before_every_fifth_step(mishap: Mishap) -> None:
    """Wherever a worker is frozen, or its partition moved, promises are kept and every saga has its end."""
    struck = strike_all(courses(mishap, stride=5))
    assert not struck.bad, struck.bad[0]
    assert struck.runs > 200
