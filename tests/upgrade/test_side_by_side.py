from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.simulation.scenario import play
from tests.simulation.show import told
from tests.simulation.subject import make_shard
from tests.upgrade.next_version import CurrentLog, Fleet, NextLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.process import Ports, Shard

SEEDS = 40

pytestmark = [pytest.mark.promise("P12")]


def _mixed(born: int, chance: float) -> bool:
    del born
    return chance < 0.5


def _upgraded(born: int, chance: float) -> bool:
    del chance
    return born > 2


def _rolled_back(born: int, chance: float) -> bool:
    del chance
    return born <= 3


@pytest.mark.fault("two versions of the worker share the partitions; an upgrade; a roll-back")
@pytest.mark.parametrize("is_next", [_mixed, _upgraded, _rolled_back])
def test_versions_share_the_partitions(is_next: Callable[[int, float], bool]) -> None:
    """Workers of the next version and of this one take over from each other, and every promise is kept."""
    fleet = Fleet()
    for seed in range(SEEDS):
        born = 0

        def of_some_version(ports: Ports) -> Shard:
            nonlocal born
            born += 1
            kind = NextLog if is_next(born, ports.chance()) else CurrentLog
            return make_shard(replace(ports, log=kind(ports.log, fleet)))

        outcome = play(seed, make_shard=of_some_version)
        assert outcome.good, told(outcome)
        assert fleet.lost == [], told(outcome)
    # It would prove nothing if no version had ever seen what the other one wrote.
    assert fleet.added > 300
    if is_next is not _upgraded:
        assert fleet.read > 100
        assert fleet.kept > 50
