"""How long a step is tried, and what its end is when the patience is used up."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from contracts.states import Step

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS


class GiveUp(StrEnum):
    """What happens when a step's patience is used up."""

    LAPSE = "lapse"
    """Nothing was revoked: the user may ask again."""
    PARK = "park"
    """A person must look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The attempts and the time a step may take, in milliseconds."""

    quick: int
    """Quick tries in process after the first attempt of a call."""
    waits_ms: tuple[int, ...]
    """Durable waits between calls; the last one repeats."""
    give_up_after_ms: int
    """Counted from the step's first attempt."""


GIVE_UP: Mapping[Step, GiveUp] = MappingProxyType(
    {
        Step.CONSULT: GiveUp.LAPSE,
        Step.CANCEL_TOKEN: GiveUp.PARK,
        Step.CANCEL_AGREEMENT: GiveUp.PARK,
        Step.NOTIFY_MERCHANT: GiveUp.PARK,
        Step.NOTIFY_HUB: GiveUp.PARK,
        Step.OFFER: GiveUp.LAPSE,
    }
)

USER_TIME = frozenset(step for step, end in GIVE_UP.items() if end is GiveUp.LAPSE)
"""Steps at which the user waits: their time runs on under a hold or a stopped line."""

_REVOKE = Patience(
    quick=2,
    waits_ms=(
        5 * SECOND_MS,
        30 * SECOND_MS,
        MINUTE_MS,
        2 * MINUTE_MS,
        5 * MINUTE_MS,
        10 * MINUTE_MS,
        30 * MINUTE_MS,
        HOUR_MS,
    ),
    give_up_after_ms=24 * HOUR_MS,
)
_NOTIFY = Patience(
    quick=2,
    # The ladder of Antom's and AlipayHK's own notices (notifyAuthorization, notify.cancel).
    waits_ms=(
        2 * MINUTE_MS,
        10 * MINUTE_MS,
        10 * MINUTE_MS,
        HOUR_MS,
        2 * HOUR_MS,
        6 * HOUR_MS,
        15 * HOUR_MS,
    ),
    give_up_after_ms=25 * HOUR_MS,
)

PATIENCE: Mapping[Step, Patience] = MappingProxyType(
    {
        Step.CONSULT: Patience(
            quick=2,
            waits_ms=(2 * SECOND_MS, 5 * SECOND_MS, 10 * SECOND_MS, 30 * SECOND_MS),
            give_up_after_ms=2 * MINUTE_MS,
        ),
        Step.CANCEL_TOKEN: _REVOKE,
        Step.CANCEL_AGREEMENT: _REVOKE,
        Step.NOTIFY_MERCHANT: _NOTIFY,
        Step.NOTIFY_HUB: _NOTIFY,
        Step.OFFER: Patience(quick=2, waits_ms=(5 * SECOND_MS, 15 * SECOND_MS), give_up_after_ms=MINUTE_MS),
    }
)
"""The defaults; settings may change each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers that the rules need. Durations in milliseconds."""

    patience: Mapping[Step, Patience] = field(default_factory=lambda: PATIENCE)
    permission_ms: int = 5 * MINUTE_MS
    """How long consult's yes is good for."""
    slow_ms: int = 30 * SECOND_MS
    """The least wait after ``slowly``."""
    slow_most_ms: int = HOUR_MS
    """The most that a Retry-After is believed."""
    jitter: float = 0.1
    """Waits are spread by this share, both ways."""


def wait_ms(*, patience: Patience, waits: int, chance: float, jitter: float) -> int:
    """Return the next durable wait; ``chance`` is a number from 0 up to 1."""
    base = patience.waits_ms[min(waits, len(patience.waits_ms) - 1)]
    return round(base * (1 + jitter * (2 * chance - 1)))
