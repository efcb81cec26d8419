"""When a world has come to rest: all inputs are taken, and each saga has ended or waits for a person."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from contracts.topics import LogicalTopic, topic_name
from tests.simulation.log import TOPIC_OF

if TYPE_CHECKING:
    from tests.simulation.world import World

SETTLED = frozenset({"refused", "lapsed", "unbound", "offered", "discarded", "parked"})
LATE_S = 70.0
"""How long what is under way may still come: longer than the latest packet."""
PAUSE_MOST_S = 600.0


class Restless(Exception):
    """The world did not come to rest within the limit."""


class Rest:
    """Looks at what is still to be done, cheaply: the checker judges later whether it was done well."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read: dict[tuple[int, int], tuple[str, str]] = {}

    async def come(self, *, limit_s: float) -> None:
        """Wait until nothing is open any more, with growing pauses. Raises Restless."""
        loop, pause = self._world.loop, 5.0
        end = loop.time() + limit_s
        while (left := self.open()) and loop.time() < end:
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, PAUSE_MOST_S)
        if left:
            lines = "\n".join(left)
            raise Restless(f"after {limit_s} s still open:\n{lines}\nwaiting:\n{loop.waiting()}")
        # What comes late shall have come: an answer under way, a commit, a letter.
        await asyncio.sleep(LATE_S)
        self._world.note("at rest")

    def open(self) -> list[str]:
        """Name the inputs that nobody took, and the sagas without an end."""
        taken = [line for partition in self._world.owners for line in self._untaken(partition)]
        states = self.states()
        return taken + [f"saga {saga} is {state}" for saga, state in states.items() if state not in SETTLED]

    def states(self) -> dict[str, str]:
        """Return where each saga stands; a join leaves it where it was."""
        states: dict[str, str] = {}
        cluster, name = self._world.cluster, topic_name(LogicalTopic.STATES)
        for partition in range(self._world.partitions):
            for stored in cluster.archive(name, partition):
                place = (partition, stored.offset)
                if place not in self._read:
                    event = orjson.loads(stored.value or b"{}")
                    self._read[place] = (event["sagaId"], event["state"])
                saga, state = self._read[place]
                if state != "joined":
                    states[saga] = state
        return states

    def _untaken(self, partition: int) -> list[str]:
        cluster, owner = self._world.cluster, self._world.owners[partition]
        seat = None if owner is None else owner.seats.get(partition)
        position = None if seat is None else seat.shard.position()
        found = []
        for source, topic in TOPIC_OF.items():
            end = cluster.end_of_records(topic_name(topic), partition)
            taken = None if position is None else position.get(source, 0)
            if taken is None or taken < end:
                found.append(f"{topic} {partition} is taken to {taken} of {end}")
        return found
