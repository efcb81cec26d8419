"""Those on call: they look at the letters that stand, and order replays and discards, well and badly."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from contracts.commands import CommandKind, ReplayFrom
from contracts.states import Reason
from contracts.topics import LogicalTopic
from tests.faults.records import Planned
from worker.oncall.cluster import Found
from worker.oncall.letters import REPLAYS_MOST, letter_of
from worker.oncall.orders import Wish, make_orders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from tests.faults.archive import Archive
    from tests.faults.sending import Sender
    from tests.simulation.cluster import Stored
    from worker.oncall.letters import Letter

LOOK_S: Final = 1.0
GONE_MS: Final = 20_000
"""So long after a letter has gone, somebody may still order something for it."""
_JUNK: Final = (b"", b"{}", b"not JSON", b"\xff", b'{"letter":7}')
_SHARE: Final = 10
"""One in so many of the letters that stand is taken up at a look, and at least one."""
_MOST: Final = 16


@dataclass(slots=True)
class Letters:
    """The letters that stand, and those that have gone lately, as the records come."""

    standing: dict[str, Letter] = field(default_factory=dict)
    gone: deque[Letter] = field(default_factory=lambda: deque(maxlen=50))

    def take(self, stored: Stored) -> None:
        """Take one record of the dead-letter topic."""
        letter = letter_of(
            Found(
                partition=stored.partition,
                offset=stored.offset,
                timestamp_at=stored.timestamp_at,
                key=stored.key,
                value=stored.value,
                headers=stored.headers,
            )
        )
        if stored.value is not None:
            self.standing[letter.key] = letter
        elif (before := self.standing.pop(letter.key, None)) is not None:
            self.gone.append(replace(before, written_at=stored.timestamp_at))


@dataclass(slots=True)
class OnCall:
    """Chooses commands from a seed; `orders` is what a person would publish now. Pure but for its memory."""

    random: Random
    partitions: int
    ordered: Counter[str] = field(default_factory=Counter)
    """What was ordered, by its kind."""
    _plans: int = 0

    def orders(self, letters: Letters, *, now_at: int) -> list[Planned]:
        """Return the commands of one look."""
        deeds: list[tuple[int, Callable[[Letter], Wish]]] = [
            (10, self._replay),
            (3, self._from_start),
            (3, self._forced),
            (6, self._discard),
        ]
        found: list[Planned] = []
        standing = [letter for letter in letters.standing.values() if letter.headers is not None]
        count = min(len(standing), _MOST, 1 + len(standing) // _SHARE)
        for letter in self.random.sample(standing, count):
            (deed,) = self.random.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
            if letter.headers is not None and letter.headers.replays >= REPLAYS_MOST:
                # As a person would: nothing came of it twice.
                deed = self._discard if self.random.random() < 0.7 else deed
            made = self._order(letter, deed(letter), now_at=now_at)
            found += self._spoiled(letter, made, now_at=now_at)
        found += self._odd_ones(letters, now_at=now_at)
        return found

    # --- what a person wants -----------------------------------------------------

    def _replay(self, letter: Letter) -> Wish:
        if letter.headers is not None and letter.headers.reason is Reason.EXPIRED:
            return self._discard(letter)
        return self._wish(CommandKind.REPLAY)

    def _from_start(self, _letter: Letter) -> Wish:
        return replace(self._wish(CommandKind.REPLAY), resume_from=ReplayFrom.START)

    def _forced(self, _letter: Letter) -> Wish:
        return replace(self._wish(CommandKind.REPLAY), force=True)

    def _discard(self, _letter: Letter) -> Wish:
        return self._wish(CommandKind.DISCARD)

    def _wish(self, kind: CommandKind) -> Wish:
        return Wish(kind=kind, by="soak", why="from the soak's people on call")

    # --- what becomes of it ------------------------------------------------------

    def _order(self, letter: Letter, wish: Wish, *, now_at: int) -> Planned:
        self._plans += 1
        plan_id = f"plan-{self._plans}"
        (order,) = make_orders([letter], wish, now_at=now_at, plan_id=plan_id)
        start = "-from-start" if wish.resume_from is ReplayFrom.START else ""
        self.ordered[f"{wish.kind.value}{start}{'-forced' if wish.force else ''}"] += 1
        return _planned(order.message.value, key=letter.key, letter=letter, headers=order.message.headers)

    def _spoiled(self, letter: Letter, made: Planned, *, now_at: int) -> list[Planned]:
        """Return the command, now and then twice, by two people, too late, or in the wrong partition."""
        chance = self.random.random()
        if chance < 0.08:
            self.ordered["same twice"] += 1
            return [made, made]
        if chance < 0.16:
            self.ordered["by two people"] += 1
            return [made, self._order(letter, self._discard(letter), now_at=now_at)]
        if chance < 0.20 and letter.headers is not None:
            self.ordered["stale"] += 1
            older = replace(letter, headers=replace(letter.headers, sequence=letter.headers.sequence + 1))
            return [self._order(older, self._replay(letter), now_at=now_at)]
        if chance < 0.24:
            self.ordered["wrong partition"] += 1
            return [replace(made, partition=(made.partition + 1) % self.partitions)]
        return [made]

    def _odd_ones(self, letters: Letters, *, now_at: int) -> list[Planned]:
        """Return commands that no letter asks for."""
        found = []
        lately = [letter for letter in letters.gone if letter.written_at > now_at - GONE_MS]
        if lately and self.random.random() < 0.25:
            self.ordered["for a gone letter"] += 1
            letter = self.random.choice(lately)
            found.append(self._order(letter, self._replay(letter), now_at=now_at))
        if self.random.random() < 0.08:
            self.ordered["junk"] += 1
            found.append(
                Planned(
                    after_ms=0,
                    partition=self.random.randrange(self.partitions),
                    key=b"junk",
                    value=self.random.choice(_JUNK),
                    headers=(),
                    topic=LogicalTopic.COMMANDS,
                )
            )
        return found


async def attend(
    oncall: OnCall, letters: Letters, *, archive: Archive, sender: Sender, now: Callable[[], int]
) -> None:
    """Look and order, again and again, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        await archive.catch_up()
        for order in oncall.orders(letters, now_at=now()):
            await sender.send(order)


def _planned(
    value: bytes, *, key: str, letter: Letter, headers: Sequence[tuple[str, bytes | None]]
) -> Planned:
    return Planned(
        after_ms=0,
        partition=letter.partition,
        key=key.encode(),
        value=value,
        headers=tuple((name, content or b"") for name, content in headers),
        topic=LogicalTopic.COMMANDS,
    )
