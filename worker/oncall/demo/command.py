"""`unbinding demo`: everything on this machine, every kind of request, a kill, and a judgement."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from worker.oncall.demo.board import Board
from worker.oncall.demo.plan import make_plan
from worker.oncall.demo.play import Player
from worker.oncall.demo.reading import read_history
from worker.oncall.demo.stage import Stage, make_directory, open_stage
from worker.oncall.demo.summary import Report, closing_lines, report_lines, summary_table
from worker.oncall.demo.verdict import judge, sagas_of, went_on
from worker.oncall.demo.view import open_view
from worker.oncall.errors import ExitCode
from worker.oncall.options import Json
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.sandbox.download_bar import download_bar
from worker.sandbox.obtain_kafka import Source


def demo_command(
    context: typer.Context,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="At the end leave all of it running until Ctrl-C, to look around.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--directory", metavar="DIR", help="An empty one for all files; else a temporary one."),
    ] = None,
    json: Json = False,
) -> None:
    """Run everything on this machine, show every kind of request, kill the worker, and judge the result.

    Kafka is the one that KAFKA_BOOTSTRAP_SERVERS names, else local Java processes, else a container. The exit
    code is 0 only if topics and the sandbox's ledger say that every request ended as it had to.

    Example:
      unbinding demo
    """
    outside = outside_of(context)
    with _place(directory) as place:
        performance = _Performance(outside=outside, directory=place, keep=keep, json=json)
        if not run_to_end(performance.run()):
            raise typer.Exit(ExitCode.ERROR)


@contextmanager
def _place(directory: Path | None) -> Iterator[Path]:
    """Give the demo's directory; a temporary one stays only where something in it has to be looked at."""
    if directory is not None:
        yield make_directory(directory)
        return
    place = Path(tempfile.mkdtemp(prefix="unbinding-demo-"))
    try:
        yield place
    except Exception:
        if not any(place.iterdir()):
            place.rmdir()
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Performance:
    """One run of the demo."""

    outside: Outside
    directory: Path
    keep: bool
    json: bool

    async def run(self) -> bool:
        """Play, judge and show; return whether all was right."""
        outside, terminal = self.outside, self.outside.terminal()
        began_at, began = outside.now(), outside.elapsed()
        plan = make_plan(now_at=began_at)
        async with AsyncExitStack() as opened:
            with download_bar(terminal.err) as progress:
                terminal.say("starting Kafka and the sandbox …")
                stage = await opened.enter_async_context(
                    open_stage(self.directory, environ=outside.environ, progress=progress)
                )
            terminal.say(_where(stage))
            cluster = await opened.enter_async_context(outside.open_cluster(stage.settings))
            await cluster.apply_topics(await cluster.check_topics())
            board = Board(plan)
            with open_view(
                terminal, board, json=self.json, elapsed=lambda: outside.elapsed() - began
            ) as view:
                player = Player(
                    plan=plan,
                    stage=stage,
                    cluster=cluster,
                    open_cluster=outside.open_cluster,
                    board=board,
                    view=view,
                )
                played = await player.play()
            history = await read_history(
                cluster, plan, ledger=stage.box.ledger, worker=stage.worker, played=played
            )
            report = Report(
                rows=judge(plan, history),
                kill=played.kill,
                going=0 if played.kill is None else went_on(sagas_of(history.states), played.kill),
                gave_up=played.gave_up,
                began_at=began_at,
                took_ms=outside.elapsed() - began,
            )
            _show(terminal, report, json=self.json)
            if not report.right:
                log = stage.worker.log
                terminal.say(f"the worker's log is {log}; it ends with:\n{stage.worker.log_tail()}")
            if self.keep:
                await _keep(terminal, stage)
        _tell_what_stays(terminal, stage)
        return report.right


def _show(terminal: Terminal, report: Report, *, json: bool) -> None:
    if json:
        for fields in report_lines(report):
            terminal.data(fields)
        return
    terminal.show(summary_table(report.rows))
    for line in closing_lines(report):
        terminal.line(line)


def _where(stage: Stage) -> str:
    kafka = stage.kafka
    passed_over = "".join(f"\n  not {why}" for why in kafka.passed_over)
    return f"Kafka ({kafka.source}) at {kafka.bootstrap_servers}{passed_over}\nfiles in {stage.directory}"


def _tell_what_stays(terminal: Terminal, stage: Stage) -> None:
    """Name the topics on a cluster that was there before us and stays."""
    if stage.kafka.source is Source.GIVEN:
        terminal.say(
            f"the topics {stage.settings.topics.prefix}* stay at {stage.kafka.bootstrap_servers}: "
            "delete them with kafka-topics.sh --delete when you have looked at them"
        )


async def _keep(terminal: Terminal, stage: Stage) -> None:
    """Start the worker again and wait for Ctrl-C."""
    await stage.worker.start()
    terminal.say(
        "all of it runs on until Ctrl-C; look around in another terminal:\n"
        f"  unbinding letters list --config {stage.config}\n"
        f"  unbinding watch --from 10m --config {stage.config}\n"
        f"  unbinding topics check --config {stage.config}"
    )
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    await interrupted.wait()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
