"""Which runs a benchmark consists of: who, under which latency, with how many sagas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from worker.bench.errand import Contestant

if TYPE_CHECKING:
    from collections.abc import Collection


class Scene(StrEnum):
    """Under which circumstances."""

    FAST = "0 ms"
    """A backlog, and the payment side answers at once."""
    SLOW = "200 ms"
    """A backlog, and the payment side takes 200 ms for each call."""
    IDLE = "idle"
    """Single requests, each after the one before has ended."""


LATENCY_MS: Final = {Scene.FAST: 0, Scene.SLOW: 200, Scene.IDLE: 0}
IN_FLIGHT: Final = {Scene.FAST: 64, Scene.SLOW: 256, Scene.IDLE: 64}
"""Calls at once, for the floor and for ours."""

# What a contestant makes of a full run's sagas, so that each run takes seconds, not minutes.
_SHARES: Final = {
    (Scene.FAST, Contestant.STOCK_SERIAL): 0.25,
    (Scene.FAST, Contestant.STOCK_CONCURRENT): 0.25,
    (Scene.SLOW, Contestant.STOCK_SERIAL): 0.005,
    (Scene.SLOW, Contestant.STOCK_CONCURRENT): 0.15,
    (Scene.IDLE, Contestant.OURS): 0.05,
    (Scene.IDLE, Contestant.STOCK_SERIAL): 0.05,
}
_FEWEST: Final = 8
_WARM_UP: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of one contestant in one round."""

    scene: Scene
    contestant: Contestant
    sagas: int
    warm_up: int
    round: int
    sampled: bool = False

    @property
    def in_flight(self) -> int:
        """Calls at once, at most."""
        return IN_FLIGHT[self.scene]


def plan(*, sagas: int, rounds: int, only: Collection[Contestant] = ()) -> list[Trial]:
    """Return the runs in their order: each round all contestants, every other round backwards.

    So a machine that gets slower or faster meanwhile does not favour one of them. The last run looks where
    our CPU goes.
    """
    wanted = [contestant for contestant in Contestant if not only or contestant in only]
    trials: list[Trial] = []
    for number in range(rounds):
        order = wanted if number % 2 == 0 else wanted[::-1]
        trials += [
            _trial(scene, contestant, sagas=sagas, number=number)
            for scene in Scene
            for contestant in order
            if scene is not Scene.IDLE or (scene, contestant) in _SHARES
        ]
    if Contestant.OURS in wanted:
        trials.append(_trial(Scene.FAST, Contestant.OURS, sagas=sagas, number=rounds, sampled=True))
    return trials


def _trial(scene: Scene, contestant: Contestant, *, sagas: int, number: int, sampled: bool = False) -> Trial:
    count = max(_FEWEST, round(sagas * _SHARES.get((scene, contestant), 1.0)))
    return Trial(
        scene=scene,
        contestant=contestant,
        sagas=count,
        warm_up=min(_WARM_UP, count // 2),
        round=number,
        sampled=sampled,
    )
