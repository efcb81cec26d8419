"""`unbinding verify`: proves the promises on a cluster, or shows what breaks them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from contracts.requests import UnbindingRequested
from contracts.states import Step
from contracts.wire import parse_rfc3339
from worker.oncall.errors import CommandError, ExitCode, PartlyDone, UsageWrong
from worker.oncall.options import Config, Json, duration_ms
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.verify_ledger import check_url, read_calls
from worker.oncall.verify_reading import Wish, how_many
from worker.oncall.verify_settling import Report, verify
from worker.oncall.verify_view import (
    kinds_table,
    promise_lines,
    promises_table,
    violation_line,
    violation_text,
)
from worker.ports import LogError
from worker.verify.history import Limits
from worker.verify.inputs import is_consulted
from worker.verify.violations import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from contracts.requests import RebindingRequested
    from worker.oncall.terminal import Terminal
    from worker.settings import Settings

_SHOWN: Final = 20
_CLOCKS_MS: Final = 5_000
"""How far the clocks of workers may be apart."""
_REMEMBERED_BYTES: Final = 60
"""What a request takes in memory once it is finished, at most: itself, and two targets."""
_CONSULTING: Final = frozenset({"platform", "wallet"})
"""Profiles with the step consult (contract, Events in)."""


def verify_command(
    context: typer.Context,
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Requests from then on: RFC 3339, or an age as 2h."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Nothing later; RFC 3339, or an age as 2h.")
    ] = None,
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", min=0, metavar="N", help="Only this partition; can be repeated."),
    ] = None,
    at_rest: Annotated[
        bool, typer.Option("--at-rest", help="Nothing is under way: every request must have its end.")
    ] = False,
    ledger: Annotated[
        str | None, typer.Option("--ledger", metavar="URL", help="The sandbox, for its ledger of calls.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many violations to show people, at most.")
    ] = _SHOWN,
    kinds: Annotated[
        bool, typer.Option("--kinds", help="List the kinds of violations with their names, and do no more.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Prove the promises on a cluster, or show each record that breaks one; changes nothing.

    It reads committed records of all topics, joins no group and commits nothing: workers do not notice. Each
    request below a shard's position must be accounted for; later ones count as not taken yet. What looks
    wrong is looked at twice, so that a transaction seen by half is no alarm. A promise of which nothing could
    be checked is told as not checked, not as kept.

    Exit code 0 if nothing is broken, 1 if anything is, 2 if it was asked wrongly, 3 if not everything could
    be read or checked: then nothing is proven.

    Example:
      unbinding verify --since 2h
      unbinding verify --at-rest --ledger http://127.0.0.1:8900 --json
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    if kinds:
        _show_kinds(terminal, json=json)
        return
    settings = outside.load(config).settings
    wish = Wish(
        since=_moment(since, option="--since", now_at=outside.now()),
        until=_moment(until, option="--until", now_at=outside.now()),
        partitions=_partitions(partition, settings),
        prefix=settings.topics.prefix,
        at_rest=at_rest,
        limits=limits_of(settings),
        consulted=_consulted(settings),
        call_ms=_call_ms(settings),
    )
    if wish.since is not None and wish.until is not None and wish.since >= wish.until:
        raise UsageWrong("--since must be before --until")
    base_url = None if ledger is None else check_url(ledger)
    report = run_to_end(_verify(outside, terminal, settings, wish, base_url=base_url))
    _show(terminal, report, limit=limit, json=json)
    if report.violations:
        raise typer.Exit(ExitCode.ERROR)
    if report.unsettled:
        raise typer.Exit(ExitCode.PARTLY)


async def _verify(
    outside: Outside, terminal: Terminal, settings: Settings, wish: Wish, *, base_url: str | None
) -> Report:
    # Before the topics: of each call that the ledger knows, the events before it are there by then.
    calls = None if base_url is None else read_calls(base_url)
    wish = replace(wish, calls=calls)
    try:
        async with outside.open_cluster(settings) as cluster:
            total = await how_many(cluster, wish)
            with terminal.progress("reading", total=total) as advance:
                return await verify(cluster, wish, elapsed=outside.elapsed, read=advance)
    except (UsageWrong, PartlyDone):
        raise
    except (CommandError, LogError) as error:
        raise PartlyDone(f"nothing is proven: {error}") from error


def _show(terminal: Terminal, report: Report, *, limit: int, json: bool) -> None:
    if json:
        for violation in report.violations:
            terminal.data(violation_line(violation))
        for line in promise_lines(report):
            terminal.data(line)
    else:
        for violation in report.violations[:limit]:
            terminal.show_line(violation_text(violation))
        if len(report.violations) > limit:
            terminal.say(f"… and {len(report.violations) - limit} more: --limit, or all of them with --json")
        terminal.show(promises_table(report))
    partitions = ", ".join(map(str, report.partitions))
    terminal.say(f"{report.records:,} records read of partitions {partitions}")
    if report.unsettled:
        terminal.say(
            f"not everything could be checked: {len(report.unsettled)} sagas or commands looked wrong in "
            "another way at each look, so that nothing is said of them; verify once more"
        )
    if report.violations:
        terminal.say(f"{len(report.violations)} violations")
    elif not report.unsettled:
        terminal.say("no promise was found broken")


def _show_kinds(terminal: Terminal, *, json: bool) -> None:
    if not json:
        terminal.show(kinds_table())
        return
    for name, kind in KINDS.items():
        terminal.data({"kind": name, "promise": kind.promise, "means": kind.means})


def limits_of(settings: Settings) -> Limits:
    """Return what the settings say of the workers."""
    return Limits(
        remember_ms=settings.remember.time_ms,
        remember_requests=settings.remember.bytes_per_shard // _REMEMBERED_BYTES,
        patience_ms={step.value: getattr(settings.patience, step.value).give_up_after_ms for step in Step},
        clocks_ms=_CLOCKS_MS,
        call_ms=_call_ms(settings),
    )


def _call_ms(settings: Settings) -> int:
    """Return how long a call may take that the ledger knows: consult and cancelToken are by token."""
    found = (settings.counterparts.hub, settings.counterparts.tokens, settings.counterparts.antom)
    return max((given.timeout_ms for given in found if given is not None), default=0)


def _consulted(settings: Settings) -> Callable[[UnbindingRequested | RebindingRequested], bool]:
    """Say which requests need permission, by the contract (Events in) and the settings."""
    consult = settings.steps.consult
    unasked = frozenset(consult) if isinstance(consult, tuple) else frozenset()
    asks = settings.profile.value in _CONSULTING and consult != "off"

    def consulted(request: UnbindingRequested | RebindingRequested) -> bool:
        return (
            asks
            and isinstance(request, UnbindingRequested)
            and is_consulted(request)
            and request.psp_id not in unasked
        )

    return consulted


def _partitions(given: list[int] | None, settings: Settings) -> frozenset[int] | None:
    if not given:
        return None
    count = settings.topics.partitions
    if max(given) >= count:
        raise UsageWrong(f"--partition must be from 0 to {count - 1}: topics.partitions is {count}")
    return frozenset(given)


def _moment(text: str | None, *, option: str, now_at: int) -> int | None:
    """Return a moment as RFC 3339 text, or as an age, in ms since the epoch. Raises `UsageWrong`."""
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        pass  # then it is an age
    try:
        return now_at - duration_ms(text, option=option)
    except UsageWrong:
        raise UsageWrong(
            f"{option} must be a moment as 2026-01-31T08:00:00Z, or an age as 90s, 10m or 2h"
        ) from None
