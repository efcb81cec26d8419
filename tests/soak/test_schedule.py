"""The schedule of a soak is a plan: the same from the same seed, with every blow, and none too long."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from tests.soak.schedule import (
    EXTRA,
    HURT,
    LANES,
    OUTAGES,
    PAYMENT,
    STEADY,
    WORLD,
    Blow,
    Strike,
    strikes,
)
from worker.sandbox.payment.rules import parse_rules

SEEDS = range(5)


def schedule(seed: int, lane: str, count: int = 60) -> list[Strike]:
    """Return the first strikes of a lane."""
    return list(islice(strikes(seed, lane), count))


@pytest.mark.parametrize("lane", LANES)
def test_schedule_comes_from_its_seed(lane: str) -> None:
    """One seed gives one schedule, another seed another one; lanes do not follow each other."""
    assert schedule(1, lane) == schedule(1, lane)
    assert schedule(1, lane) != schedule(2, lane)
    others = [schedule(1, other) for other in LANES if other != lane]
    gaps = [strike.after_ms for strike in schedule(1, lane)]
    assert gaps not in [[strike.after_ms for strike in other] for other in others]


def test_every_blow_falls() -> None:
    """Half an hour of a schedule has every blow, in the lane it belongs to."""
    lanes = {
        blow: {strike.lane for seed in SEEDS for strike in _all(seed) if strike.blow is blow} for blow in Blow
    }
    hurting = {Blow.KILL, Blow.TERM, Blow.STOP}
    assert all(lanes[blow] == set(HURT) for blow in hurting)
    assert lanes[Blow.NAP] == {*HURT, STEADY}
    assert lanes[Blow.SCALE] == {EXTRA}
    world = {Blow.ALL_GONE, Blow.BROKER_KILL, Blow.BROKER_PAUSE, Blow.BROKER_RESTART}
    assert all(lanes[blow] == {WORLD} for blow in world)
    payment = {Blow.OUTAGE, Blow.PAYMENT_KILL, Blow.PAYMENT_PAUSE, Blow.PAYMENT_RESTART}
    assert all(lanes[blow] == {PAYMENT} for blow in payment)


def test_outages_take_turns() -> None:
    """No outage comes again before every other one has come."""
    for seed in SEEDS:
        outages = [strike.outage for strike in schedule(seed, PAYMENT, 100) if strike.outage]
        assert set(outages[: len(OUTAGES)]) == set(OUTAGES)
        counts = Counter(outages)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_the_payment_side_knows_each_outage() -> None:
    """Each outage is a document of rules that the payment side takes."""
    for rules in OUTAGES.values():
        assert parse_rules({"rules": list(rules)}).loose


def test_one_worker_lives_long() -> None:
    """The steady worker is never ended alone, so that its memory can be watched."""
    assert {strike.blow for strike in schedule(1, STEADY)} == {Blow.NAP}


def test_blows_end() -> None:
    """No blow lasts so long that the whole soak would wait for it, and each lane rests in between."""
    for seed in SEEDS:
        for strike in _all(seed):
            assert 0 <= strike.for_ms <= 16_000
            assert strike.after_ms >= 4_000


def _all(seed: int) -> list[Strike]:
    return [strike for lane in LANES for strike in schedule(seed, lane)]
