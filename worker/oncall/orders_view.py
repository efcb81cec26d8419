"""How orders are shown: the plan before, verdicts and states as they come, and what is left open."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from contracts.commands import Ruling, VerdictRecorded
from worker.oncall.letters import outlooks
from worker.oncall.orders import Course, Order
from worker.oncall.watch import StateEvent
from worker.oncall.watch_view import state_text


def plan_table(orders: Sequence[Order], *, plan_id: str) -> Table:
    """Return what is about to be ordered, and what each command would do."""
    kind = orders[0].command.type.partition(".")[0]
    first = orders[0].command
    table = Table(
        title=Text(f"Plan {plan_id}: {kind} {len(orders)}, by {first.by}, why: {first.why}"),
        title_justify="left",
        expand=False,
    )
    for column in ("key", "binding", "reason", "step", "what it does"):
        table.add_column(column, overflow="fold")
    for order in orders:
        headers = order.letter.headers
        outlook = next(found for found in outlooks(order.letter) if found.command == kind)
        table.add_row(
            Text(order.letter.key),
            Text("" if headers is None else headers.binding_id or ""),
            Text("" if headers is None else headers.reason.value),
            Text("" if headers is None else headers.step or ""),
            Text(outlook.sentence, style="" if outlook.lawful else "yellow"),
        )
    return table


def verdict_text(verdict: VerdictRecorded) -> Text:
    """Return a verdict in one line."""
    line = Text(f"{verdict.letter}  {verdict.command or 'command'} ")
    if verdict.ruling is Ruling.APPLIED:
        return line.append("applied", style="green")
    line.append("refused", style="bold red").append(f": {verdict.because}")
    return line.append(f"; instead: {verdict.instead}") if verdict.instead is not None else line


def told_text(told: VerdictRecorded | StateEvent) -> Text:
    """Return a verdict or a state in one line."""
    return verdict_text(told) if isinstance(told, VerdictRecorded) else state_text(told)


def told_line(course: Course, told: VerdictRecorded | StateEvent) -> dict[str, object]:
    """Return a verdict or a state as data for JSON Lines."""
    kind = "verdict" if isinstance(told, VerdictRecorded) else "state"
    return {
        "letter": course.order.letter.key,
        kind: {"type": told.type, **told.model_dump(mode="json", exclude_none=True)},
    }


def open_texts(courses: Sequence[Course]) -> list[str]:
    """Return a sentence for each course that was not complete in time."""
    found = []
    for course in courses:
        key = course.order.letter.key
        if course.verdict is None:
            found.append(
                f"{key}: no verdict came in time. The command stands, and is served when a worker "
                f"owns partition {course.order.letter.partition}; see that workers run; do not order it again"
            )
        elif not course.complete:
            found.append(f"{key}: the saga goes on; follow it with: unbinding watch --saga {key} --from 10m")
    return found
