"""`unbinding letters`: lists and shows dead letters, replays and discards them."""

import secrets
from pathlib import Path
from typing import Annotated, Final

import typer

from contracts.commands import CommandKind, ReplayFrom, Ruling, VerdictRecorded
from contracts.states import Reason, Step
from worker.oncall.errors import CommandError, NothingMatched, PartlyDone, Refused, UsageWrong
from worker.oncall.letters import Letter, chosen, find, read_letters
from worker.oncall.letters_view import letter_line, letter_table, letter_whole, letters_table
from worker.oncall.options import Config, Json, Yes, duration_ms
from worker.oncall.orders import Course, Wish, carry_out, make_orders
from worker.oncall.orders_view import open_texts, plan_table, told_line, told_text
from worker.oncall.outside import Outside, outside_of, run_to_end
from worker.oncall.terminal import Terminal
from worker.oncall.watch import StateEvent
from worker.settings import Settings

_LISTED: Final = 50

letters = typer.Typer(
    help="Dead letters: what is parked for a person, why, and what to do about it.",
    add_completion=False,
    rich_markup_mode=None,
)

Keys = Annotated[
    list[str], typer.Argument(metavar="KEY…", help="Keys of letters; the start of a key is enough.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why, for the audit. Needed.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who orders it; else the user's login name.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="How long to wait for verdicts and states.")
]


@letters.command("list")
def list_command(
    context: typer.Context,
    *,
    reason: Annotated[Reason | None, typer.Option("--reason", help="Only letters with this reason.")] = None,
    step: Annotated[Step | None, typer.Option("--step", help="Only letters of this step.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, help="How many at most, longest parked first.")
    ] = _LISTED,
    json: Json = False,
    config: Config = None,
) -> None:
    """List the open dead letters, the longest parked first.

    Example:
      unbinding letters list --reason outcome_unknown --step cancel_token
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    found = chosen(
        run_to_end(_read(outside, terminal, outside.load(config).settings)), reason=reason, step=step
    )
    if json:
        for letter in found[:limit]:
            terminal.data(letter_line(letter))
    elif found:
        terminal.show(letters_table(found[:limit], total=len(found), now_at=outside.now()))
    if not found:
        if reason is not None or step is not None:
            raise NothingMatched("no open dead letter has this reason and step; list all without options")
        terminal.say("no dead letter is open")


@letters.command("show")
def show_command(
    context: typer.Context,
    *,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of a letter; its start is enough.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """Show all that is known of one dead letter, and what replay and discard would do.

    Its value stays sealed: only its size and the id of its key are shown.

    Example:
      unbinding letters show 5e9a1c77
    """
    outside = outside_of(context)
    terminal = outside.terminal()
    letter = find(run_to_end(_read(outside, terminal, outside.load(config).settings)), key)
    if json:
        terminal.data(letter_whole(letter))
    else:
        terminal.show(letter_table(letter))


@letters.command("replay")
def replay_command(
    context: typer.Context,
    *,
    keys: Keys,
    why: Why,
    by: By = None,
    resume_from: Annotated[
        ReplayFrom, typer.Option("--from", help="Where it goes on; start only where no revoke was attempted.")
    ] = ReplayFrom.FAILED_STEP,
    force: Annotated[
        bool, typer.Option("--force", help="Also letters that were replayed too often.")
    ] = False,
    timeout: Timeout = "30s",
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Let parked sagas go on, each at the step that failed, and tell how far they get.

    A worker decides and gives a verdict; a letter that moved on since it was read is refused. Exit code 4 if
    all are refused, 3 if some are.

    Example:
      unbinding letters replay 5e9a1c77 --why "AlipayHK confirmed that the outage is over"
    """
    wish = Wish(kind=CommandKind.REPLAY, by=_name(context, by), why=why, resume_from=resume_from, force=force)
    _order(context, keys, wish, timeout=timeout, yes=yes, json=json, config=config)


@letters.command("discard")
def discard_command(
    context: typer.Context,
    *,
    keys: Keys,
    why: Why,
    by: By = None,
    timeout: Timeout = "30s",
    yes: Yes = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Close dead letters that need nothing more; their sagas end as discarded.

    Example:
      unbinding letters discard 5e9a1c77 --why "the merchant closed the account by hand, ticket 8812"
    """
    wish = Wish(kind=CommandKind.DISCARD, by=_name(context, by), why=why)
    _order(context, keys, wish, timeout=timeout, yes=yes, json=json, config=config)


def _order(
    context: typer.Context,
    keys: list[str],
    wish: Wish,
    *,
    timeout: str,
    yes: bool,
    json: bool,
    config: Path | None,
) -> None:
    outside = outside_of(context)
    terminal = outside.terminal()
    settings = outside.load(config).settings
    timeout_ms = duration_ms(timeout, option="--timeout")
    found = run_to_end(_read(outside, terminal, settings))
    # One letter named twice is one order.
    wanted = list({letter.key: letter for letter in (find(found, key) for key in keys)}.values())
    plan_id = f"plan-{secrets.token_hex(4)}"
    orders = make_orders(wanted, wish, now_at=outside.now(), plan_id=plan_id)
    terminal.say(plan_table(orders, plan_id=plan_id))
    terminal.agree(f"Order this {wish.kind}?", yes=yes)

    def told(course: Course, news: VerdictRecorded | StateEvent) -> None:
        if json:
            terminal.data(told_line(course, news))
        else:
            terminal.show_line(told_text(news))

    async def work() -> list[Course]:
        async with outside.open_cluster(settings) as cluster:
            return await carry_out(cluster, orders, timeout_ms=timeout_ms, elapsed=outside.elapsed, told=told)

    terminal.say(f"waiting for a worker, at most {timeout}")
    try:
        courses = run_to_end(work())
    except KeyboardInterrupt:
        terminal.say("what was ordered stands; see how it ends with: unbinding letters list")
        raise
    _judge(terminal, courses)


def _judge(terminal: Terminal, courses: list[Course]) -> None:
    for sentence in open_texts(courses):
        terminal.say(sentence)
    rulings = [None if course.verdict is None else course.verdict.ruling for course in courses]
    applied = rulings.count(Ruling.APPLIED)
    if applied == len(courses):
        return
    if applied:
        raise PartlyDone(f"{applied} of {len(courses)} applied")
    if None not in rulings:
        raise Refused("refused: nothing was changed")
    if all(ruling is None for ruling in rulings):
        raise CommandError("no verdict came: does a worker run? The commands stand")
    raise PartlyDone("some were refused, for others no verdict came")


def _name(context: typer.Context, by: str | None) -> str:
    environ = outside_of(context).environ
    name = by or environ.get("LOGNAME") or environ.get("USER")
    if not name:
        raise UsageWrong("say who orders it: --by NAME")
    return name


async def _read(outside: Outside, terminal: Terminal, settings: Settings) -> list[Letter]:
    async with outside.open_cluster(settings) as cluster:
        count = 0
        with terminal.err.status("reading dead letters") as status:

            def read(records: int) -> None:
                nonlocal count
                count += records
                status.update(f"reading dead letters: {count} records")

            return await read_letters(cluster, read=read)
