"""`unbinding watch`: follows the states of bindings, one line each."""

from collections.abc import Callable
from typing import Annotated

import typer

from worker.oncall.errors import NothingMatched
from worker.oncall.options import Config, Json, duration_ms
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.oncall.watch import StateEvent, begin_at, watch
from worker.oncall.watch_view import problem_text, sighting_line, state_text
from worker.settings import Settings


def watch_command(
    context: typer.Context,
    *,
    binding: Annotated[str | None, typer.Option("--binding", metavar="ID", help="Only this binding.")] = None,
    saga: Annotated[
        str | None,
        typer.Option("--saga", metavar="ID", help="Only this saga; the start of its id is enough."),
    ] = None,
    begin: Annotated[
        str,
        typer.Option("--from", metavar="WHEN", help="earliest, latest, or how far back: 90s, 10m, 2h."),
    ] = "latest",
    until_idle: Annotated[
        str | None,
        typer.Option("--until-idle", metavar="DURATION", help="End when nothing came for so long: 5s, 2m."),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Follow the states of bindings live, one line each; Ctrl-C ends it.

    It reads committed events only, joins no group and commits nothing: workers do not notice. With --json
    each event comes as it was published.

    Example:
      unbinding watch --from 10m --binding bnd-20417
      unbinding watch --from earliest --until-idle 5s --json
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    since = begin_at(begin, now_at=outside.now(), parse=lambda text: duration_ms(text, option="--from"))
    idle_ms = None if until_idle is None else duration_ms(until_idle, option="--until-idle")
    seen = run_to_end(
        _watch(
            outside,
            terminal,
            outside.load(config).settings,
            since=since,
            wanted=_wanted(binding, saga),
            until_idle_ms=idle_ms,
            json=json,
        )
    )
    if not seen:
        raise NothingMatched("no state came that was asked for; look further back with --from 2h or earliest")


def _wanted(binding: str | None, saga: str | None) -> Callable[[StateEvent], bool]:
    return lambda event: (
        (binding is None or event.binding_id == binding) and (saga is None or event.saga_id.startswith(saga))
    )


async def _watch(
    outside: Outside,
    terminal: Terminal,
    settings: Settings,
    *,
    since: int | None,
    wanted: Callable[[StateEvent], bool],
    until_idle_ms: int | None,
    json: bool,
) -> int:
    count = 0
    async with outside.open_cluster(settings) as cluster:
        sightings = watch(
            cluster, since=since, wanted=wanted, until_idle_ms=until_idle_ms, elapsed=outside.elapsed
        )
        async for batch in sightings:
            for sighting in batch:
                if sighting.event is None:
                    terminal.say(problem_text(sighting))
                    continue
                count += 1
                if json:
                    terminal.data(sighting_line(sighting))
                else:
                    terminal.show_line(state_text(sighting.event))
    return count
