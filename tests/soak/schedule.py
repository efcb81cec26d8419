"""Which blow falls when: a schedule for hours from a seed, in lanes that strike at the same time. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

HURT: Final = ("a", "b")
"""Workers that are killed and stopped all the time."""
STEADY: Final = "c"
"""The worker that only naps, so that it lives long enough to show a leak."""
EXTRA: Final = "d"
"""The worker that comes and goes."""
WORLD: Final = "world"
PAYMENT: Final = "payment"
LANES: Final = (*HURT, STEADY, EXTRA, WORLD, PAYMENT)


class Blow(StrEnum):
    """What is done, and to whom."""

    KILL = "worker killed"
    """SIGKILL; a new process starts after a while."""
    TERM = "worker asked to end"
    """SIGTERM; a new process starts after a while."""
    STOP = "worker stopped"
    """SIGSTOP beyond the session, then SIGCONT."""
    NAP = "worker napped"
    """SIGSTOP for less than a session, then SIGCONT."""
    SCALE = "worker added"
    """One more worker comes, and goes in good order."""
    ALL_GONE = "all workers gone"
    """Every worker is killed; they start anew after a while."""
    BROKER_KILL = "broker killed"
    BROKER_RESTART = "broker restarted"
    BROKER_PAUSE = "broker paused"
    """SIGSTOP for a while, beyond time limits or below them, then SIGCONT."""
    PAYMENT_KILL = "payment side killed"
    PAYMENT_RESTART = "payment side restarted"
    PAYMENT_PAUSE = "payment side paused"
    OUTAGE = "outage"
    """The payment side answers, but badly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One blow. `after_ms` counts from the end of the blow before in the same lane."""

    lane: str
    blow: Blow
    after_ms: int
    for_ms: int
    """How long it lasts, or how long somebody is away."""
    outage: str = ""
    """With an outage: which."""


@dataclass(frozen=True, slots=True)
class _Choice:
    blow: Blow
    weight: int
    for_ms: tuple[int, int]


_GAPS: Final = {
    **dict.fromkeys(HURT, (4_000, 16_000)),
    STEADY: (10_000, 30_000),
    EXTRA: (8_000, 30_000),
    WORLD: (15_000, 50_000),
    PAYMENT: (6_000, 20_000),
}
_CHOICES: Final = {
    **dict.fromkeys(
        HURT,
        (
            _Choice(Blow.KILL, 5, (0, 4_000)),
            _Choice(Blow.TERM, 3, (0, 4_000)),
            _Choice(Blow.STOP, 2, (8_000, 16_000)),
            _Choice(Blow.NAP, 2, (200, 3_000)),
        ),
    ),
    STEADY: (_Choice(Blow.NAP, 1, (200, 3_000)),),
    EXTRA: (_Choice(Blow.SCALE, 1, (4_000, 15_000)),),
    WORLD: (
        _Choice(Blow.BROKER_KILL, 3, (0, 3_000)),
        _Choice(Blow.BROKER_RESTART, 2, (0, 0)),
        _Choice(Blow.BROKER_PAUSE, 4, (500, 12_000)),
        _Choice(Blow.ALL_GONE, 1, (2_000, 10_000)),
    ),
    PAYMENT: (
        _Choice(Blow.PAYMENT_KILL, 2, (0, 4_000)),
        _Choice(Blow.PAYMENT_RESTART, 1, (0, 1_000)),
        _Choice(Blow.PAYMENT_PAUSE, 2, (300, 8_000)),
        _Choice(Blow.OUTAGE, 6, (1_000, 6_000)),
    ),
}
OUTAGES: Final = {
    "all unknown": ({"do": "U"},),
    "all unknown, but done": ({"api": "cancel_token", "do": "U + done"},),
    "all hanging": ({"do": "hang"},),
    "answers lost": ({"do": "lost", "rate": 0.5},),
    "reset": ({"do": "reset", "rate": 0.7},),
    "not signed": ({"do": "unsigned", "rate": 0.5},),
    "slow": ({"do": "allow + slow 1500"},),
    "unavailable": ({"do": "503", "rate": 0.5},),
    "too many calls": ({"do": "429", "rate": 0.03},),
    "line stopped": ({"do": "F INVALID_SIGNATURE", "rate": 0.03},),
}
"""How the payment side can misbehave, as rules of the sandbox. What slows clients or stops lines for half a
minute and more strikes few calls: the load would come to rest otherwise."""


def strikes(seed: int, lane: str) -> Iterator[Strike]:
    """Yield the strikes of one lane, for ever."""
    random = Random(f"{seed}/{lane}")  # noqa: S311 - a seed, no secret
    choices = _CHOICES[lane]
    outages: list[str] = []
    while True:
        (choice,) = random.choices(choices, [choice.weight for choice in choices])
        outage = ""
        if choice.blow is Blow.OUTAGE:
            # Each in its turn, so that a short soak has seen many.
            if not outages:
                outages = random.sample(sorted(OUTAGES), len(OUTAGES))
            outage = outages.pop()
        yield Strike(
            lane=lane,
            blow=choice.blow,
            after_ms=random.randint(*_GAPS[lane]),
            for_ms=random.randint(*choice.for_ms),
            outage=outage,
        )
