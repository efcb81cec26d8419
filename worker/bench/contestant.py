"""The process of one contestant: ``python -m worker.bench.contestant ERRAND``.

It warms up, says ``ready``, waits for a line, measures itself until all sagas have ended, says its report
and ends. Where its standard input ends earlier, whoever started it has gone, and it goes, too.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import uvloop

from worker.bench.errand import Contestant, Errand, Report
from worker.bench.meter import Meter, Tally
from worker.bench.sampling import Samples, sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

READY: Final = b"ready\n"
GO: Final = b"go\n"
_FUNCTIONS: Final = 40


class Deserted(Exception):
    """Whoever started this process has gone."""


async def run(errand: Errand) -> None:
    """Run one contestant from its warm-up to its report. Raises Deserted, and what the contestant raises."""
    said = await _standard_input()
    go = asyncio.Event()
    tally = Tally(warm_up=errand.warm_up, sagas=errand.sagas)
    async with asyncio.TaskGroup() as tasks:
        leash = tasks.create_task(_listen(said, go))
        work = tasks.create_task(_worker_of(errand.contestant)(errand, tally))
        await tally.warm.wait()
        _say(READY)
        await go.wait()
        with sampling() if errand.sampled else nullcontext(Samples()) as samples:
            before = Meter.read()
            await tally.done.wait()
            used = Meter.read().since(before)
        report = Report(
            cpu_s=used.cpu_s,
            system_s=used.system_s,
            wall_s=used.wall_s,
            ended=tally.measured,
            areas=dict(samples.areas),
            functions=dict(samples.functions.most_common(_FUNCTIONS)),
        )
        _say(report.to_json() + b"\n")
        leash.cancel()
        work.cancel()


def _worker_of(contestant: Contestant) -> Callable[[Errand, Tally], Coroutine[Any, Any, None]]:
    # Each in a process without the modules of the others.
    match contestant:
        case Contestant.FLOOR:
            from worker.bench.floor import run_floor  # noqa: PLC0415 - see above

            return run_floor
        case Contestant.OURS:
            from worker.bench.ours import run_ours  # noqa: PLC0415 - see above

            return run_ours
        case Contestant.STOCK_SERIAL | Contestant.STOCK_CONCURRENT | Contestant.STOCK_AIOHTTP:
            from worker.bench.stock import run_stock  # noqa: PLC0415 - see above

            return run_stock


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _listen(said: asyncio.StreamReader, go: asyncio.Event) -> None:
    """Hear the word to go; then the end of the input, which says that nobody is there any more."""
    if await said.readline() == GO:
        go.set()
        await said.read()
    raise Deserted


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Errand.from_json(sys.argv[1])))
