"""The schedule of faults and the load are plans: the same from the same seed, and bounded."""

from __future__ import annotations

from random import Random

import pytest

from contracts.states import Step
from tests.faults.load import WORDS, Load
from tests.faults.schedule import EXTRA, WORKERS, Kind, plan
from tests.faults.stage import PARTITIONS
from worker.sandbox.payment.token_words import wish

SEEDS = range(50)


def make_load(seed: int) -> Load:
    """Return a load of 300 records."""
    load = Load(random=Random(seed), partitions=PARTITIONS, begins_at=1_767_225_600_000)  # noqa: S311 - a seed
    load.plan(300, over_ms=10_000)
    return load


def test_schedule_comes_from_its_seed() -> None:
    """One seed gives one schedule, another seed another one."""
    schedules = [plan(seed, kinds=frozenset(Kind), over_ms=20_000) for seed in SEEDS]
    assert schedules == [plan(seed, kinds=frozenset(Kind), over_ms=20_000) for seed in SEEDS]
    assert len(set(schedules)) == len(SEEDS)


def test_schedule_reaches_every_worker_and_kind() -> None:
    """The schedules together strike every worker in every way, and let the extra one come and go."""
    faults = [fault for seed in SEEDS for fault in plan(seed, kinds=frozenset(Kind), over_ms=20_000)]
    hurting = set(Kind) - {Kind.SCALE}
    wanted = {(slot, kind) for slot in WORKERS for kind in hurting} | {(EXTRA, Kind.SCALE)}
    assert {(fault.slot, fault.kind) for fault in faults} == wanted


@pytest.mark.parametrize("kind", Kind)
def test_schedule_strikes_in_time(kind: Kind) -> None:
    """A schedule of one kind has that kind only, and its first fault strikes during the load."""
    for seed in SEEDS:
        faults = plan(seed, kinds={kind}, over_ms=15_000)
        assert {fault.kind for fault in faults} == {kind}
        assert min(fault.after_ms for fault in faults) < 6_000


def test_load_comes_from_its_seed() -> None:
    """One seed gives one load, byte for byte."""
    assert make_load(3).planned == make_load(3).planned
    assert make_load(3).planned != make_load(4).planned


def test_load_has_what_upstream_sends() -> None:
    """A load has repetitions, second requests for a token, and as many tokens as words want."""
    load = make_load(5)
    seen = [(record.key, record.headers) for record in load.planned]
    assert len(set(seen)) < len(seen)
    keys = [record.key for record in load.planned if record.key is not None]
    assert len(set(keys)) < len(keys)
    assert sum(record.key is None for record in load.planned) > 0
    assert len(set(load.tokens)) == len(load.tokens) > 200


@pytest.mark.parametrize("word", WORDS)
def test_payment_side_knows_the_words(word: str) -> None:
    """Each word of the load means something to the payment side."""
    token = make_load(1).add(word, slow_ms=30)
    wishes = [wish(token, step) for step in (Step.CONSULT, Step.CANCEL_TOKEN)]
    assert any(found.script for found in wishes)
    assert [found.slow_ms for found in wishes] == [30, 30]
