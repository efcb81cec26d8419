"""What a seed chooses about its workers: profile, sizes, memory, keys. The default is a plain platform."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from contracts.states import Step
from worker.saga.plan import EDITIONS, PROFILE_STEPS, Edition, ProfileName
from worker.shard.remember import Remembering

if TYPE_CHECKING:
    from random import Random

RECORD_BYTES = 8_000
"""Larger values are not copied, in a simulated worker."""
RECORD_MOST = 64_000
"""Bytes of the largest record that the cluster takes, if the seed does not say less."""
UNCONSULTED_PSP = "psp-unasked"
"""A wallet that is never consulted where the setting says so."""
UPSTREAM_KEY = "upstream-1"
"""The sealing key that upstream seals tokens with: it is never lost."""
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which keys a worker starts with, by id; the first one is active."""

    sealing: tuple[str, ...] = ("sealing-1", UPSTREAM_KEY)
    prints: tuple[str, ...] = ("prints-1",)
    given_up: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much a shard takes at once."""

    live_sagas: int = 50_000
    live_bytes: int = 256 * 1024 * 1024
    inbox: int = 2_000
    inbox_bytes: int = 32 * 1024 * 1024
    batch: int = 500
    unit_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a worker is started with; a restarted one may have another."""

    steps: tuple[Step, ...] = PROFILE_STEPS[ProfileName.PLATFORM]
    edition: Edition = Edition.WALLET
    consult: bool = True
    unconsulted_psps: frozenset[str] = frozenset()
    sizes: Sizes = field(default_factory=Sizes)
    remembering: Remembering = field(default_factory=Remembering)
    record_most: int = RECORD_MOST
    lingers: bool = False
    """Shards wait for more before they commit, whatever the load."""
    keys: Keys = field(default_factory=Keys)
    accept_loss: bool = False

    @property
    def forgetful(self) -> bool:
        """Whether finished requests may be forgotten within a run: then nothing is asked for twice."""
        return self.remembering != Remembering()

    def consults(self, data: dict[str, Any]) -> bool:
        """Say whether a request needs permission: read from the contract, not from the worker's plan."""
        spared = data.get("pspId") in self.unconsulted_psps
        named = data.get("pspId") is not None and data.get("acquirerId") is not None
        return (
            Step.CONSULT in self.steps
            and self.consult
            and not spared
            and "accessToken" in data
            and not (data["initiator"] == "merchant" and named)
        )


def draw(random: Random) -> Setting:
    """Choose a setting: half of the worlds are plain platforms, the others differ in a few things."""
    setting = Setting()
    if random.random() < 0.4:
        setting = _another_profile(setting, random)
    if random.random() < 0.25:
        setting = replace(setting, sizes=_small(random))
    if random.random() < 0.15:
        forgetting = random.choice((Remembering(bytes=100), Remembering(time_ms=MINUTE_MS)))
        setting = replace(setting, remembering=forgetting)
    return replace(
        setting,
        record_most=random.choice((RECORD_MOST,) * 4 + (5_000,)),
        lingers=random.random() < 0.2,
    )


def _another_profile(setting: Setting, random: Random) -> Setting:
    name = random.choice(list(ProfileName))
    steps = PROFILE_STEPS[name]
    if name is ProfileName.PLATFORM and random.random() < 0.5:
        # All that a worker could do, as soon as each counterpart is configured.
        steps = tuple(Step)
    if len(steps) > 2 and random.random() < 0.3:
        without = random.choice(steps)
        steps = tuple(step for step in steps if step is not without)
    return replace(
        setting,
        steps=steps,
        edition=EDITIONS[name],
        consult=random.random() < 0.8,
        unconsulted_psps=frozenset(random.choice(((), (UNCONSULTED_PSP,)))),
    )


def _small(random: Random) -> Sizes:
    return Sizes(
        live_sagas=random.choice((2, 5, 50_000)),
        live_bytes=random.choice((3_000, 1 << 28)),
        inbox=random.choice((2, 3, 2_000)),
        inbox_bytes=random.choice((500, 1 << 25)),
        batch=random.choice((1, 2, 500)),
        unit_bytes=random.choice((500, 1 << 22)),
    )
