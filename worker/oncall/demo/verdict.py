"""Compares what happened with what had to happen: topics and ledger, case by case. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from typing_extensions import override

from contracts.commands import VerdictRecorded
from contracts.dead_letters import LetterHeaders
from contracts.states import ENDS, BindingStateChanged, State, Step, state_event_id
from contracts.topics import TOPICS, LogicalTopic
from worker.oncall.demo.expectations import Case, Expected, Range, Stretch
from worker.oncall.demo.history import CallSeen, History, Kill, StateSeen, TokenSeen

RESULT_ON_ITS_WAY_MS: Final = 1_000
"""A result this young at the kill may not have been committed: its call is lawfully made again."""

_LEDGER: Final = "the sandbox's ledger"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it had to be."""

    expected: str
    found: str
    where: str

    @override
    def __str__(self) -> str:
        return f"expected {self.expected}; found {self.found}; look in {self.where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The judgement of one case, or of something that holds for all."""

    shows: str
    expected: str
    found: str
    problems: tuple[Problem, ...] = ()

    @property
    def right(self) -> bool:
        """Tell whether all of it is as it had to be."""
        return not self.problems


def judge(plan: Sequence[Case], history: History) -> tuple[Row, ...]:
    """Return a row for each case, then those that hold for all."""
    sagas = sagas_of(history.states)
    rows = [_case_row(case, sagas, history) for case in plan]
    return (*rows, _kill_row(plan, sagas, history), _events_row(plan, sagas, history), _secrecy_row(history))


def sagas_of(states: Iterable[StateSeen]) -> dict[str, list[StateSeen]]:
    """Return each saga's events, by saga id, in the order in which a reader sees them."""
    sagas: dict[str, list[StateSeen]] = {}
    for seen in sorted(states, key=lambda one: (one.partition, one.offset)):
        sagas.setdefault(seen.event.saga_id, []).append(seen)
    return sagas


def went_on(sagas: Mapping[str, Sequence[StateSeen]], kill: Kill) -> int:
    """Count the sagas that had begun before the kill, and published the next of their events after it."""
    count = 0
    for events in sagas.values():
        before = [seen.event for seen in events if seen.event.at_ms <= kill.killed_at]
        if before and len(before) < len(events) and before[-1].state is not State.PARKED:
            count += 1
    return count


def course_text(states: Iterable[State]) -> str:
    """Return states as a line for people; a state that comes several times in a row is counted."""
    runs = ((state, sum(1 for _ in run)) for state, run in groupby(states))
    return " → ".join(f"{state} ({times} times)" if times > 1 else str(state) for state, times in runs)


# --- one case ----------------------------------------------------------------


def _case_row(case: Case, sagas: Mapping[str, list[StateSeen]], history: History) -> Row:
    mine = [events for events in sagas.values() if events[0].event.request_ids[0] in case.request_ids]
    events = mine[0] if mine else []
    token = history.tokens.get(case.name, TokenSeen())
    key = _letter_key(case, events, history.letters)
    letter = history.letters.get(key)
    verdicts = [verdict for verdict in history.verdicts if verdict.letter == key]
    problems = [
        *_course_problems(case, mine, token, history.kill),
        *_call_problems(case, token, history.kill),
        *_letter_problems(case, events, letter),
        *_ruling_problems(case, verdicts),
        *_place_problems(case, events, sagas, history),
    ]
    return Row(
        shows=case.shows,
        expected=_expected_text(case.expected),
        found=_found_text(case, events, token, letter=letter, verdicts=verdicts),
        problems=tuple(problems),
    )


def _course_problems(
    case: Case, mine: Sequence[Sequence[StateSeen]], token: TokenSeen, kill: Kill | None
) -> Iterator[Problem]:
    where = _states_of(case)
    wanted = case.expected
    if len(mine) != bool(wanted.course):
        yield Problem(f"{int(bool(wanted.course))} saga", f"{len(mine)} sagas", where)
    if not mine or not wanted.course:
        return
    events = mine[0]
    states = [seen.event.state for seen in events]
    cut = any(_cut_off(token.calls, step, kill) for step in Step)
    if not _follows([state for state in states if state is not State.JOINED], wanted.course, cut=cut):
        yield Problem(_course_of(wanted), course_text(states), where)
    joins = states.count(State.JOINED)
    if joins != wanted.joins:
        yield Problem(f"joined {wanted.joins} times", f"{joins} times", where)
    last = events[-1].event
    if set(last.request_ids) != set(case.request_ids):
        yield Problem(f"an end for {', '.join(case.request_ids)}", ", ".join(last.request_ids), where)
    debits = last.debits if isinstance(last, BindingStateChanged) else None
    if debits is not wanted.debits:
        yield Problem(f"debits {wanted.debits or 'not told'}", f"{debits or 'not told'}", where)
    parked = {seen.event.reason for seen in events if isinstance(seen.event, BindingStateChanged)} - {None}
    if parked != {wanted.parked_for} - {None}:
        yield Problem(f"parked for {wanted.parked_for or 'nothing'}", _listed(parked) or "nothing", where)


def _follows(states: Sequence[State], course: Sequence[Stretch], *, cut: bool) -> bool:
    """Tell whether the states are this course; tries that a kill cut off may have saved it a wait."""
    runs = [(state, sum(1 for _ in run)) for state, run in groupby(states)]
    for stretch in course:
        least = 0 if cut and stretch.state is State.WAITING else stretch.times.least
        times = runs.pop(0)[1] if runs and runs[0][0] is stretch.state else 0
        if times not in Range(least, stretch.times.most):
            return False
    return not runs


def _call_problems(case: Case, token: TokenSeen, kill: Kill | None) -> Iterator[Problem]:
    for step in Step:
        wanted = case.expected.calls.get(step, Range(0, 0))
        # A case that is about the kill counts the call that is cut off; another may have been unlucky.
        extra = int(wanted.most > 0 and case.in_flight is not step and _cut_off(token.calls, step, kill))
        made = sum(1 for call in token.calls if call.step is step)
        if made not in Range(wanted.least, wanted.most + extra):
            told = f"{wanted} calls of {step}" + (" and one that the kill cut off" if extra else "")
            yield Problem(told, str(made), _LEDGER)
    if token.revoked is not case.expected.revoked:
        words = {True: "a dead token", False: "a live token"}
        yield Problem(words[case.expected.revoked], words[token.revoked], _LEDGER)
    if token.asked_after_revoke:
        yield Problem("no consult of a dead token", str(token.asked_after_revoke), _LEDGER)
    if token.overlapping:
        yield Problem("one call at a time", f"{token.overlapping} that overlap", _LEDGER)


def _cut_off(calls: Sequence[CallSeen], step: Step, kill: Kill | None) -> bool:
    """Tell whether the kill cut a call of this step off, or may have kept its result from being committed."""
    if kill is None:
        return False
    before = [call for call in calls if call.received_at <= kill.killed_at]
    if not before or before[-1].step is not step:
        return False
    ended_at = before[-1].ended_at
    return ended_at is None or ended_at > kill.killed_at - RESULT_ON_ITS_WAY_MS


def _letter_problems(
    case: Case, events: Sequence[StateSeen], letter: LetterHeaders | None
) -> Iterator[Problem]:
    where = f"{_name(LogicalTopic.DEAD_LETTERS)}, {case.name}"
    if not case.expected.letter_open:
        if letter is not None:
            yield Problem("no open letter", f"one for {letter.reason}", where)
        return
    if letter is None:
        yield Problem(f"an open letter for {case.expected.parked_for}", "none", where)
        return
    if letter.reason is not case.expected.parked_for:
        yield Problem(f"a letter for {case.expected.parked_for}", letter.reason, where)
    if events and letter.sequence != events[-1].event.sequence:
        yield Problem(f"a letter at sequence {events[-1].event.sequence}", str(letter.sequence), where)


def _ruling_problems(case: Case, verdicts: Sequence[VerdictRecorded]) -> Iterator[Problem]:
    wanted = [] if case.expected.ruling is None else [(case.order, case.expected.ruling)]
    found = [(verdict.command, verdict.ruling) for verdict in verdicts]
    if found != wanted:
        yield Problem(_rulings(wanted), _rulings(found), _name(LogicalTopic.VERDICTS))


def _place_problems(
    case: Case, events: Sequence[StateSeen], sagas: Mapping[str, list[StateSeen]], history: History
) -> Iterator[Problem]:
    partitions = {seen.partition for seen in events}
    if partitions - {case.partition}:
        yield Problem(f"events in partition {case.partition}", _listed(partitions), _states_of(case))
    forwarded = [one for one in history.forwarded if one.event_id in case.request_ids]
    origins = [(one.origin.partition, one.partition) for one in forwarded]
    wanted = [(record.message.partition, case.partition) for record in case.published if case.forwarded]
    if origins != wanted:
        yield Problem(f"{len(wanted)} forwarded", str(len(origins)), _name(LogicalTopic.REQUESTS))
    if case.after is not None:
        ends = [
            found[-1].offset
            for found in sagas.values()
            if found[0].event.binding_id == case.binding_id and found is not events
        ]
        begins = [seen.offset for seen in events if seen.event.state is not State.REQUESTED]
        if not ends or not begins or begins[0] < ends[0]:
            yield Problem(f"nothing before the end of {case.after}", "both at once", _states_of(case))


# --- what holds for all --------------------------------------------------------


def _kill_row(plan: Sequence[Case], sagas: Mapping[str, list[StateSeen]], history: History) -> Row:
    wanted = sum(1 for case in plan if case.in_flight is not None)
    problems = []
    kill = history.kill
    if kill is None:
        found = "not killed"
        problems.append(Problem(f"a kill that cuts {wanted} calls off", found, "the worker's log"))
    else:
        going = went_on(sagas, kill)
        found = f"{kill.in_flight} calls cut off; {going} sagas went on"
        if going < wanted:
            problems.append(
                Problem(f"at least {wanted} sagas that go on", str(going), _name(LogicalTopic.STATES))
            )
        if kill.in_flight < wanted:
            problems.append(Problem(f"{wanted} calls cut off", str(kill.in_flight), _LEDGER))
    if history.exit_code != 0:
        code = Problem("exit code 0 after SIGTERM", str(history.exit_code), "the worker's log")
        problems.append(code)
    return Row(
        shows="SIGKILL in the middle",
        expected=f"{wanted} calls cut off; all sagas go on",
        found=found,
        problems=tuple(problems),
    )


def _events_row(plan: Sequence[Case], sagas: Mapping[str, list[StateSeen]], history: History) -> Row:
    topic = _name(LogicalTopic.STATES)
    problems = [Problem("records that keep to the contract", text, text) for text in history.strangers]
    known = {request_id for case in plan for request_id in case.request_ids}
    for saga_id, events in sagas.items():
        numbers = [seen.event.sequence for seen in events]
        if numbers != list(range(1, len(numbers) + 1)):
            problems.append(
                Problem(f"sequence 1 to {len(numbers)}", _listed(numbers), f"{topic}, saga {saga_id}")
            )
        if any(seen.event_id != state_event_id(saga_id, seen.event.sequence) for seen in events):
            problems.append(Problem("ids made of saga and sequence", "others", f"{topic}, saga {saga_id}"))
        if not known.issuperset(events[0].event.request_ids):
            problems.append(Problem("no saga that nobody asked for", saga_id, topic))
        ended = [seen.event.sequence for seen in events if seen.event.state in ENDS]
        if ended and ended[0] != len(events):
            problems.append(
                Problem("nothing after the end", f"events after {ended[0]}", f"{topic}, {saga_id}")
            )
    orders = sum(1 for case in plan if case.order is not None)
    if len(history.verdicts) != orders:
        problems.append(
            Problem(f"{orders} verdicts", str(len(history.verdicts)), _name(LogicalTopic.VERDICTS))
        )
    letters = sum(1 for case in plan if case.expected.letter_open)
    if len(history.letters) != letters:
        problems.append(
            Problem(f"{letters} open letters", str(len(history.letters)), _name(LogicalTopic.DEAD_LETTERS))
        )
    return Row(
        shows="all events, across the kill",
        expected="each once, in order, without a gap",
        found=f"{len(history.states)} events of {len(sagas)} sagas",
        problems=tuple(problems),
    )


def _secrecy_row(history: History) -> Row:
    return Row(
        shows="tokens at rest",
        expected="none that can be read",
        found=f"readable in {len(history.leaks)} places" if history.leaks else "none",
        problems=tuple(Problem("no token that can be read", "one", place) for place in history.leaks),
    )


# --- words -----------------------------------------------------------------------


def _letter_key(case: Case, events: Sequence[StateSeen], letters: Mapping[str, LetterHeaders]) -> str:
    if events:
        return events[0].event.saga_id
    for key, letter in letters.items():
        if letter.saga_id is None and ("ce_id", case.request_ids[0].encode()) in letter.original:
            return key
    return ""


def _expected_text(expected: Expected) -> str:
    parts = [_course_of(expected) or "a letter, no saga"]
    if expected.joins:
        parts.append(f"joined by {expected.joins}")
    parts += [f"{step} {times}" for step, times in expected.calls.items()]
    if expected.parked_for is not None:
        parts.append(f"parked for {expected.parked_for}")
    if expected.ruling is not None:
        parts.append(f"command {expected.ruling}")
    return "; ".join(parts)


def _found_text(
    case: Case,
    events: Sequence[StateSeen],
    token: TokenSeen,
    *,
    letter: LetterHeaders | None,
    verdicts: Sequence[VerdictRecorded],
) -> str:
    parts = [course_text(seen.event.state for seen in events) or "a letter, no saga"]
    if not events and letter is None:
        parts = ["nothing"]
    made = Counter(call.step for call in token.calls)
    for step in Step:
        wanted = case.expected.calls.get(step, Range(0, 0))
        if made[step]:
            again = " (the kill came in between)" if made[step] > wanted.most > 0 else ""
            parts.append(f"{step} {made[step]}{again}")
    reasons = {seen.event.reason for seen in events if isinstance(seen.event, BindingStateChanged)} - {None}
    if not events and letter is not None:
        reasons = {letter.reason}
    parts += [f"parked for {reason}" for reason in sorted(filter(None, reasons))]
    parts += [f"command {verdict.ruling}" for verdict in verdicts]
    return "; ".join(parts)


def _course_of(expected: Expected) -> str:
    return " → ".join(map(str, expected.course))


def _rulings(pairs: Sequence[tuple[object, object]]) -> str:
    return ", ".join(f"{command} {ruling}" for command, ruling in pairs) or "no verdict"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _states_of(case: Case) -> str:
    return f"{_name(LogicalTopic.STATES)}, binding {case.binding_id}"


def _name(topic: LogicalTopic) -> str:
    return TOPICS[topic].name
