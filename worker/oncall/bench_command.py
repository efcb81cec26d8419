"""`unbinding bench`: the worker, the floor below it and the designs beside it, measured in one run."""

import importlib
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from worker.bench.errand import BenchFailed, Contestant
from worker.bench.figures import Measured, function_shares, rows, shares, standings
from worker.bench.trials import Trial, plan
from worker.bench.view import (
    functions_table,
    json_lines,
    progress_line,
    rows_table,
    setting,
    setting_text,
    shares_table,
    standings_table,
)
from worker.oncall.errors import CommandError
from worker.oncall.options import Json
from worker.oncall.outside import outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.sandbox.download_bar import download_bar
from worker.sandbox.obtain_kafka import obtain_kafka

_SAGAS: Final = 2_000
_QUICK_SAGAS: Final = 200
_ROUNDS: Final = 3


def bench_command(
    context: typer.Context,
    *,
    sagas: Annotated[
        int | None,
        typer.Option("--sagas", min=16, metavar="N", help=f"Sagas of a run; {_SAGAS} if left out."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help=f"One round of {_QUICK_SAGAS} sagas: does it work, not how well."),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, max=100, help=f"How often each runs; {_ROUNDS} if left out."),
    ] = None,
    only: Annotated[
        list[Contestant] | None,
        typer.Option("--only", help="Run this contestant only; may be given several times."),
    ] = None,
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=100, help="Partitions of each topic.")
    ] = 12,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show the functions that our CPU was found in, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure CPU per saga, throughput and latency beside the floor and the stock designs.

    Kafka is the cluster that KAFKA_BOOTSTRAP_SERVERS names, or is started here; the topics are the
    benchmark's own and are deleted. A missed mark is shown and is no error: the exit code is 1 only where
    sagas went wrong.

    Example:
      unbinding bench --quick
    """
    terminal = outside_of(context).terminal()
    rounds = rounds or (1 if quick else _ROUNDS)
    trials = plan(sagas=sagas or (_QUICK_SAGAS if quick else _SAGAS), rounds=rounds, only=only or ())
    measured: list[Measured] = []

    def told(result: Measured) -> None:
        measured.append(result)
        terminal.say(f"{len(measured):3}/{len(trials)}  {progress_line(result)}")

    try:
        kafka = run_to_end(_measure(trials, terminal, partitions=partitions, told=told))
    except BenchFailed as error:
        raise CommandError(str(error)) from error
    facts = setting(kafka=kafka, partitions=partitions, rounds=rounds)
    wrong = [run.wrong for run in measured if run.wrong is not None]
    if json:
        for line in json_lines(
            facts=facts,
            rows=rows(measured),
            standings=standings(measured),
            shares=next((shares(run) for run in measured if run.trial.sampled), {}),
            wrong=wrong,
        ):
            terminal.data(line)
    else:
        _show(terminal, measured, facts=facts, profile=profile)
    if wrong:
        raise CommandError("; ".join(wrong))


async def _measure(
    trials: Sequence[Trial], terminal: Terminal, *, partitions: int, told: Callable[[Measured], None]
) -> str:
    """Run all trials, and return where Kafka came from."""
    # Kafka's and HTTP's libraries take a second to load: the help does not wait for them.
    run_course: Callable[..., Awaitable[None]] = importlib.import_module("worker.bench.course").run_course
    with tempfile.TemporaryDirectory(prefix="unbinding-bench-") as directory:
        async with AsyncExitStack() as opened:
            with download_bar(terminal.err) as progress:
                kafka = await opened.enter_async_context(
                    obtain_kafka(directory=Path(directory) / "kafka", progress=progress)
                )
            source = f"{kafka.source.value} ({kafka.bootstrap_servers})"
            terminal.say(f"Kafka: {source}; {len(trials)} runs")
            await run_course(
                trials,
                bootstrap_servers=kafka.bootstrap_servers,
                partitions=partitions,
                directory=Path(directory),
                told=told,
            )
    return source


def _show(
    terminal: Terminal, measured: Sequence[Measured], *, facts: Mapping[str, object], profile: bool
) -> None:
    terminal.show(setting_text(facts))
    terminal.show(rows_table(rows(measured)))
    terminal.show(standings_table(standings(measured)))
    for sampled in (run for run in measured if run.trial.sampled):
        terminal.show(shares_table(shares(sampled), cpu_ms=sampled.cpu_ms))
        if profile:
            terminal.show(functions_table(function_shares(sampled)))
