"""How the benchmark is shown."""

import io

from rich.console import Console, RenderableType

from tests.bench.test_figures import run
from worker.bench.errand import Contestant
from worker.bench.figures import rows, standings
from worker.bench.trials import Scene
from worker.bench.view import (
    json_lines,
    progress_line,
    rows_table,
    setting,
    setting_text,
    shares_table,
    standings_table,
)


def shown(renderable: RenderableType) -> str:
    """Return what a wide terminal would show."""
    out = io.StringIO()
    Console(file=out, width=200).print(renderable)
    return out.getvalue()


MEASURED = [
    run(Contestant.FLOOR, cpu_ms=1.0),
    run(Contestant.OURS, cpu_ms=1.5, transactions=11),
    run(Contestant.STOCK_SERIAL, cpu_ms=4.0, scene=Scene.SLOW, per_s=2.4),
    run(Contestant.OURS, scene=Scene.IDLE, first_call_ms=(5, 6, 30)),
]


def test_all_rows_are_shown_with_counts_and_what_is_at_once() -> None:
    """A reader sees who made how many sagas, how many at once, at which price."""
    text = shown(rows_table(rows(MEASURED)))
    ours = next(line for line in text.splitlines() if "ours" in line)
    assert all(part in ours for part in ("1 x 100", "64", "1.500", "10.0"))
    serial = next(line for line in text.splitlines() if "stock, serial" in line)
    assert all(part in serial for part in ("200 ms", " 1 ", "2.4"))
    idle = next(line for line in text.splitlines() if "idle" in line)
    assert "6 / 30 ms" in idle


def test_figures_stand_beside_their_marks() -> None:
    """A reached must, a missed mark and a figure that was not measured are told apart."""
    text = shown(standings_table(standings(MEASURED)))
    found = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line}
    ratio = found["CPU per saga: ours ÷ floor"]
    assert all(part in ratio for part in ("1.50", "≤ 1.8", "≤ 1.3", "reached"))
    assert "not measured" in found["sagas/s at 200 ms: ours ÷ stock serial"]
    assert "goal reached" in found["idle, request record to first call, p50"]


def test_the_setting_names_what_the_figures_depend_on() -> None:
    """Kafka, partitions, rounds, cores and versions stand above the figures."""
    facts = setting(kafka="local (127.0.0.1:9092)", partitions=4, rounds=3)
    text = setting_text(facts)
    assert "local (127.0.0.1:9092), 4 partitions; 3 rounds" in text
    assert "aiokafka 0." in text


def test_shares_are_shown_in_milliseconds_too() -> None:
    """An area's share is also told as CPU per saga."""
    text = shown(shares_table({"HTTP": 0.25}, cpu_ms=2.0))
    assert all(part in text for part in ("HTTP", "25.0%", "0.500"))


def test_json_lines_hold_everything_once() -> None:
    """Programs get the setting, all rows, all figures, all shares and what is wrong, by kind."""
    lines = list(
        json_lines(
            facts={"kafka": "given"},
            rows=rows(MEASURED),
            standings=standings(MEASURED),
            shares={"HTTP": 0.25},
            wrong=["ours at 0 ms: lost"],
        )
    )
    kinds = [line["kind"] for line in lines]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "setting": 1,
        "row": 4,
        "figure": 7,
        "share": 1,
        "wrong": 1,
    }
    assert lines[1]["contestant"] == "floor"


def test_a_run_is_told_in_one_line() -> None:
    """While the benchmark runs, each run is told as it ends."""
    line = progress_line(MEASURED[1])
    assert "ours" in line
    assert "1.500 ms CPU each" in line
