"""`unbinding demo`: everything on this machine, every kind of request, a kill, and a judgement."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from worker.oncall.cluster import Cluster
from worker.oncall.demo.board import Board
from worker.oncall.demo.expectations import Case
from worker.oncall.demo.plan import make_plan
from worker.oncall.demo.play import Played, Player
from worker.oncall.demo.reading import read_history
from worker.oncall.demo.stage import Stage, make_directory, open_stage
from worker.oncall.demo.summary import count_line, kill_line, summary_lines, summary_table, wrong_lines
from worker.oncall.demo.verdict import Row, judge
from worker.oncall.demo.view import open_view
from worker.oncall.errors import ExitCode
from worker.oncall.options import Json
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.sandbox.download_bar import download_bar


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
    place = (
        make_directory(directory)
        if directory is not None
        else Path(tempfile.mkdtemp(prefix="unbinding-demo-"))
    )
    performance = _Performance(outside=outside, directory=place, keep=keep, json=json)
    right = False
    try:
        right = run_to_end(performance.run())
    finally:
        # What went wrong is to be looked at; what went right leaves nothing behind.
        if directory is None and (right or not (place / "worker.log").exists()):
            shutil.rmtree(place, ignore_errors=True)
    if not right:
        raise typer.Exit(ExitCode.ERROR)


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
                player = Player(plan=plan, stage=stage, cluster=cluster, open_cluster=outside.open_cluster, board=board, view=view)
                played = await player.play()
            rows = await _judged(cluster, plan, stage, played)
            self._show(terminal, rows, played, began_at=began_at, took_ms=outside.elapsed() - began)
            right = played.gave_up is None and all(row.right for row in rows)
            if not right:
                _tell_where_to_look(terminal, stage, played)
            if self.keep:
                await _keep(terminal, stage)
        return right

    def _show(
        self, terminal: Terminal, rows: Sequence[Row], played: Played, *, began_at: int, took_ms: int
    ) -> None:
        if self.json:
            for fields in summary_lines(rows, played.kill, began_at=began_at, took_ms=took_ms):
                terminal.data(fields)
            return
        terminal.show(summary_table(rows))
        for line in wrong_lines(rows):
            terminal.line(line)
        if played.kill is not None:
            terminal.line(kill_line(played.kill, began_at=began_at))
        terminal.line(count_line(rows, took_ms=took_ms))


async def _judged(cluster: Cluster, plan: Sequence[Case], stage: Stage, played: Played) -> tuple[Row, ...]:
    history = await read_history(cluster, plan, ledger=stage.box.ledger, worker=stage.worker, played=played)
    return judge(plan, history)


def _where(stage: Stage) -> str:
    kafka = stage.kafka
    passed_over = "".join(f"\n  not {why}" for why in kafka.passed_over)
    return f"Kafka ({kafka.source}) at {kafka.bootstrap_servers}{passed_over}\nfiles in {stage.directory}"


def _tell_where_to_look(terminal: Terminal, stage: Stage, played: Played) -> None:
    if played.gave_up is not None:
        terminal.say(f"the demo gave up: {played.gave_up}")
    terminal.say(f"the worker's log is {stage.worker.log}; it ends with:\n{stage.worker.log_tail()}")


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
