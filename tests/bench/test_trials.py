"""Which runs a benchmark consists of."""

from worker.bench.errand import Contestant
from worker.bench.trials import Scene, plan


def test_every_contestant_runs_in_both_latencies_in_every_round() -> None:
    """Each round holds each contestant at 0 and at 200 ms once."""
    trials = [trial for trial in plan(sagas=2_000, rounds=3) if not trial.sampled]
    for number in range(3):
        for scene in (Scene.FAST, Scene.SLOW):
            found = [t.contestant for t in trials if t.round == number and t.scene is scene]
            assert sorted(found) == sorted(Contestant)


def test_rounds_alternate_in_their_order() -> None:
    """What runs first in one round runs last in the next."""
    trials = plan(sagas=2_000, rounds=2)
    orders = [
        [t.contestant for t in trials if t.round == number and t.scene is Scene.FAST and not t.sampled]
        for number in (0, 1)
    ]
    assert orders[0] == orders[1][::-1]


def test_only_the_named_contestants_run() -> None:
    """With names given, nobody else runs."""
    trials = plan(sagas=2_000, rounds=1, only=[Contestant.FLOOR])
    assert {trial.contestant for trial in trials} == {Contestant.FLOOR}


def test_our_cpu_is_looked_at_once_and_last() -> None:
    """The run that is sampled is ours, and comes when all figures are taken."""
    trials = plan(sagas=2_000, rounds=3)
    assert [trial.sampled for trial in trials].count(True) == 1
    assert trials[-1].sampled
    assert trials[-1].contestant is Contestant.OURS


def test_a_serial_handler_makes_few_sagas_where_each_takes_long() -> None:
    """No run takes minutes: stock serial makes 10 sagas at 200 ms where others make 2,000."""
    slow = {t.contestant: t.sagas for t in plan(sagas=2_000, rounds=1) if t.scene is Scene.SLOW}
    assert slow[Contestant.STOCK_SERIAL] == 10
    assert slow[Contestant.OURS] == slow[Contestant.FLOOR] == 2_000


def test_a_small_run_has_sagas_left_after_its_warm_up() -> None:
    """However few sagas are asked for, each run measures some after a warm-up of half as many at most."""
    for trial in plan(sagas=1, rounds=1):
        assert trial.sagas >= 8
        assert trial.warm_up <= trial.sagas / 2
