"""Medians, ratios, marks and shares of the benchmark."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.errand import Contestant, Report
from worker.bench.figures import (
    SYSTEM,
    Mark,
    Measured,
    Verdict,
    function_shares,
    percentile,
    rows,
    shares,
    standings,
)
from worker.bench.sampling import REST
from worker.bench.trials import Scene, Trial


def run(
    contestant: Contestant,
    *,
    scene: Scene = Scene.FAST,
    number: int = 0,
    cpu_ms: float = 1.0,
    per_s: float = 100.0,
    sagas: int = 100,
    unbound: int = 110,
    repeated: int = 0,
    transactions: int = 0,
    first_call_ms: tuple[int, ...] = (),
    sampled: bool = False,
) -> Measured:
    """Return a run of 100 sagas after a warm-up of 10, in which nothing is wrong."""
    trial = Trial(scene=scene, contestant=contestant, sagas=sagas, warm_up=10, round=number, sampled=sampled)
    report = Report(cpu_s=cpu_ms * sagas / 1000, system_s=0.0, wall_s=sagas / per_s, ended=sagas)
    return Measured(
        trial=trial,
        report=report,
        unbound=unbound,
        repeated=repeated,
        transactions=transactions,
        first_call_ms=first_call_ms,
    )


def figure(measured: list[Measured], name: str) -> tuple[object, Verdict]:
    """Return the one figure whose name begins so; an object, for approx is no number."""
    (found,) = [standing for standing in standings(measured) if standing.mark.name.startswith(name)]
    return found.value, found.verdict


def test_cpu_and_rate_are_per_saga_and_per_second() -> None:
    """A run's CPU is divided by its sagas, its sagas by its time on the clock."""
    measured = run(Contestant.OURS, cpu_ms=1.5, per_s=250.0)
    assert measured.cpu_ms == pytest.approx(1.5)
    assert measured.per_s == pytest.approx(250.0)


def test_a_row_is_the_median_of_its_rounds() -> None:
    """One slow round moves neither CPU nor rate of a row, but shows in its range."""
    measured = [
        run(Contestant.FLOOR, number=number, cpu_ms=cpu_ms) for number, cpu_ms in enumerate((1.0, 9.0, 1.2))
    ]
    (row,) = rows(measured)
    assert (row.cpu_ms, row.cpu_ms_from, row.cpu_ms_to) == pytest.approx((1.2, 1.0, 9.0))
    assert row.rounds == 3


def test_rows_come_in_the_order_of_scenes_and_contestants() -> None:
    """The table's order does not depend on the order of the runs."""
    measured = [
        run(Contestant.STOCK_AIOHTTP, scene=Scene.SLOW),
        run(Contestant.OURS),
        run(Contestant.FLOOR, scene=Scene.SLOW),
        run(Contestant.FLOOR),
    ]
    assert [(row.scene, row.contestant) for row in rows(measured)] == [
        (Scene.FAST, Contestant.FLOOR),
        (Scene.FAST, Contestant.OURS),
        (Scene.SLOW, Contestant.FLOOR),
        (Scene.SLOW, Contestant.STOCK_AIOHTTP),
    ]


def test_sampled_runs_are_in_no_figure() -> None:
    """A run that was slowed down by looking at it counts in no row and no ratio."""
    measured = [run(Contestant.FLOOR), run(Contestant.OURS), run(Contestant.OURS, cpu_ms=50, sampled=True)]
    assert [row.cpu_ms for row in rows(measured)] == pytest.approx([1.0, 1.0])
    assert figure(measured, "CPU per saga: ours")[0] == pytest.approx(1.0)


def test_a_ratio_is_the_median_of_ratios_within_rounds() -> None:
    """A machine that slows down between rounds does not move a ratio."""
    measured = [
        run(contestant, number=number, cpu_ms=pace * cpu_ms)
        for number, pace in enumerate((1.0, 3.0, 2.0))
        for contestant, cpu_ms in ((Contestant.FLOOR, 1.0), (Contestant.OURS, 1.25))
    ]
    assert figure(measured, "CPU per saga: ours") == (pytest.approx(1.25), Verdict.GOAL)


def test_each_ratio_has_the_right_side_above() -> None:
    """Ours stands above the floor, below the stock designs in CPU, above stock serial in rate."""
    measured = [
        run(Contestant.FLOOR, cpu_ms=1.0),
        run(Contestant.OURS, cpu_ms=1.6),
        run(Contestant.STOCK_CONCURRENT, cpu_ms=8.0),
        run(Contestant.STOCK_AIOHTTP, cpu_ms=0.8),
        run(Contestant.FLOOR, scene=Scene.SLOW, per_s=500),
        run(Contestant.OURS, scene=Scene.SLOW, per_s=400),
        run(Contestant.STOCK_SERIAL, scene=Scene.SLOW, per_s=2),
    ]
    assert figure(measured, "CPU per saga: ours") == (pytest.approx(1.6), Verdict.MUST)
    assert figure(measured, "CPU per saga: stock") == (pytest.approx(5.0), Verdict.GOAL)
    assert figure(measured, "CPU per saga: best unsafe") == (pytest.approx(0.5), Verdict.MISSED)
    assert figure(measured, "sagas/s at 200 ms: ours ÷ floor") == (pytest.approx(0.8), Verdict.MUST)
    assert figure(measured, "sagas/s at 200 ms: ours ÷ stock") == (pytest.approx(200), Verdict.GOAL)


def test_idle_figures_are_percentiles_over_all_rounds() -> None:
    """Half of the waits, and all but one in a hundred, do not exceed the two figures."""
    measured = [
        run(Contestant.OURS, scene=Scene.IDLE, number=0, first_call_ms=tuple(range(1, 51))),
        run(Contestant.OURS, scene=Scene.IDLE, number=1, first_call_ms=tuple(range(51, 101))),
    ]
    assert figure(measured, "idle, request record to first call, p50") == (50, Verdict.MISSED)
    assert figure(measured, "idle, request record to first call, p99") == (99, Verdict.MISSED)


def test_a_figure_without_its_runs_is_not_measured() -> None:
    """With --only, what lacks a side is said to be not measured, and is no miss."""
    assert {standing.verdict for standing in standings([run(Contestant.OURS)])} == {Verdict.UNKNOWN}


@pytest.mark.parametrize(
    ("lower", "value", "verdict"),
    [
        (True, 1.3, Verdict.GOAL),
        (True, 1.31, Verdict.MUST),
        (True, 1.8, Verdict.MUST),
        (True, 1.81, Verdict.MISSED),
        (False, 1.3, Verdict.MISSED),
        (False, 1.8, Verdict.GOAL),
    ],
)
def test_a_mark_itself_is_reached(*, lower: bool, value: float, verdict: Verdict) -> None:
    """A value that equals a mark reaches it, in either direction."""
    must, goal = (1.8, 1.3) if lower else (1.31, 1.8)
    assert Mark(name="x", must=must, goal=goal, lower=lower).judge(value) is verdict


@pytest.mark.parametrize(
    ("unbound", "repeated"),
    [(109, 0), (111, 0), (110, 1)],
)
def test_a_lost_or_repeated_saga_is_wrong(unbound: int, repeated: int) -> None:
    """A run in which a saga is missing, or ended twice, says so."""
    assert run(Contestant.OURS).wrong is None
    wrong = run(Contestant.OURS, unbound=unbound, repeated=repeated).wrong
    assert wrong is not None
    assert wrong.startswith("ours at 0 ms: of 110 sagas")


def test_sagas_per_transaction_are_of_all_rounds() -> None:
    """Sagas per transaction counts the warm-up on both sides; without a journal there is none."""
    ours = run(Contestant.OURS, transactions=11)
    floor = run(Contestant.FLOOR)
    assert [row.per_transaction for row in rows([ours, floor])] == [None, pytest.approx(10.0)]


def test_shares_add_up_to_the_whole_cpu_time() -> None:
    """System time is measured, and user time is shared out by samples."""
    trial = Trial(scene=Scene.FAST, contestant=Contestant.OURS, sagas=10, warm_up=1, round=0, sampled=True)
    report = Report(
        cpu_s=2.0,
        system_s=0.5,
        wall_s=3.0,
        ended=10,
        areas={"saga": 1, "HTTP": 3},
        functions={"worker.saga.decide.decide": 1},
    )
    sampled = Measured(trial=trial, report=report, unbound=11, repeated=0, transactions=2)
    found = shares(sampled)
    assert found == pytest.approx({"HTTP": 0.5625, SYSTEM: 0.25, "saga": 0.1875})
    assert list(found) == ["HTTP", SYSTEM, "saga"]
    assert function_shares(sampled) == pytest.approx({"worker.saga.decide.decide": 0.25})


def test_without_a_sample_the_user_time_stays_whole() -> None:
    """A run too short to be looked at has system time, and a rest that nothing is known of."""
    trial = Trial(scene=Scene.FAST, contestant=Contestant.OURS, sagas=8, warm_up=1, round=0, sampled=True)
    report = Report(cpu_s=0.002, system_s=0.001, wall_s=0.01, ended=8)
    short = Measured(trial=trial, report=report, unbound=9, repeated=0, transactions=1)
    assert shares(short) == pytest.approx({SYSTEM: 0.5, REST: 0.5})


@given(st.lists(st.integers(0, 10_000), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    """A percentile is the smallest of the values that so many per cent of them do not exceed."""
    found = percentile(values, percent)
    assert found in values
    needed = len(values) * percent / 100
    assert sum(value <= found for value in values) >= needed
    smaller = [value for value in values if value < found]
    assert len(smaller) < needed


def test_no_values_have_no_percentile() -> None:
    """Without values there is nothing to say."""
    assert percentile([], 50) is None
