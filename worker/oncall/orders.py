"""Replay and discard: the commands, their verdicts, and how far the sagas then go."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.cloudevents import UnreadableEvent, event_headers, read_event
from contracts.commands import (
    CommandKind,
    DiscardRequested,
    ReplayFrom,
    ReplayRequested,
    Ruling,
    VerdictRecorded,
    read_verdict,
)
from contracts.states import ENDS, State
from contracts.topics import LogicalTopic
from contracts.wire import InvalidEvent, read_data
from worker.oncall.cluster import Cluster, Found, Message
from worker.oncall.errors import CommandError, PartlyDone
from worker.oncall.letters import Letter
from worker.oncall.watch import StateEvent, sight
from worker.ports import LogError

SOURCE: Final = "/unbinding-cli"
SETTLED: Final = ENDS | {State.PARKED, State.WAITING, State.HELD}
"""States at which following a replayed saga stops: it ended, or waits for time or for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants done, and why."""

    kind: CommandKind
    by: str
    why: str
    resume_from: ReplayFrom = ReplayFrom.FAILED_STEP
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command for one letter, ready to be published in the letter's own partition."""

    letter: Letter
    command: ReplayRequested | DiscardRequested
    command_id: str
    message: Message


@dataclass(slots=True, kw_only=True)
class Course:
    """What became of an order so far."""

    order: Order
    verdict: VerdictRecorded | None = None
    states: list[StateEvent] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether there is nothing more to wait for."""
        if self.verdict is None:
            return False
        follows = (
            self.verdict.ruling is Ruling.APPLIED
            and isinstance(self.order.command, ReplayRequested)
            and self._saga_id is not None
        )
        return not follows or any(event.state in SETTLED for event in self.states)

    @property
    def _saga_id(self) -> str | None:
        headers = self.order.letter.headers
        return None if headers is None else headers.saga_id

    def take_verdict(self, verdict: VerdictRecorded) -> bool:
        """Take the verdict if it is this order's."""
        if verdict.command_id != self.order.command_id or self.verdict is not None:
            return False
        self.verdict = verdict
        return True

    def take_state(self, event: StateEvent) -> bool:
        """Take a state if it follows this order."""
        if event.saga_id != self._saga_id or event.sequence <= self.order.command.expected_sequence:
            return False
        self.states.append(event)
        return True


def make_orders(letters: Sequence[Letter], wish: Wish, *, now_at: int, plan_id: str) -> list[Order]:
    """Return a command for each letter. Raises `CommandError` for an unreadable one, or a bad text.

    Each expects the letter as it was seen: one that moves on in the meantime is refused.
    """
    return [_order(letter, wish, now_at=now_at, plan_id=plan_id) for letter in letters]


async def carry_out(
    cluster: Cluster,
    orders: Sequence[Order],
    *,
    timeout_ms: int,
    elapsed: Callable[[], int],
    told: Callable[[Course, VerdictRecorded | StateEvent], None],
) -> list[Course]:
    """Publish the commands, then wait for their verdicts, and after a replay for the states that follow.

    `told` hears each as it comes. Returns what is known when all is complete, or `timeout_ms` have passed.
    """
    courses = [Course(order=order) for order in orders]
    verdicts = aiter(cluster.follow(LogicalTopic.VERDICTS, since=None))
    states = aiter(cluster.follow(LogicalTopic.STATES, since=None))
    # The first lists fix where following begins: before any command can have had an effect.
    early = [await anext(verdicts), await anext(states)]
    await cluster.publish([order.message for order in orders])
    deadline = elapsed() + timeout_ms
    _take_verdicts(courses, early[0], told)
    _take_states(courses, early[1], told)
    try:
        while elapsed() < deadline and not all(course.complete for course in courses):
            _take_verdicts(courses, await anext(verdicts), told)
            _take_states(courses, await anext(states), told)
    except LogError as error:
        raise PartlyDone(
            f"the commands are published, but what becomes of them cannot be read: {error}. "
            "Look later with `unbinding letters list`; do not order them again"
        ) from None
    finally:
        for following in (verdicts, states):
            await _close(following)
    return courses


def _order(letter: Letter, wish: Wish, *, now_at: int, plan_id: str) -> Order:
    if letter.headers is None:
        raise CommandError(
            f"letter {letter.key} cannot be read ({letter.problem}): no command can be made for it"
        )
    data: dict[str, object] = {
        "letter": letter.key,
        "expectedSequence": letter.headers.sequence,
        "planId": plan_id,
        "by": wish.by,
        "why": wish.why,
    }
    command: ReplayRequested | DiscardRequested
    try:
        if wish.kind is CommandKind.REPLAY:
            data |= {"from": wish.resume_from.value, "force": wish.force}
            command = read_data(ReplayRequested, data)
        else:
            command = read_data(DiscardRequested, data)
    except InvalidEvent as error:
        raise CommandError(f"the command would be invalid: {error}") from None
    command_id = hashlib.sha256(f"{plan_id}\n{letter.key}".encode()).hexdigest()[:32]
    return Order(
        letter=letter,
        command=command,
        command_id=command_id,
        message=Message(
            topic=LogicalTopic.COMMANDS,
            key=letter.key.encode(),
            value=command.to_json(),
            headers=tuple(
                event_headers(
                    event_id=command_id,
                    source=SOURCE,
                    event_type=command.type,
                    at=now_at,
                    subject=letter.headers.binding_id,
                    correlation_id=letter.headers.saga_id,
                )
            ),
            partition=letter.partition,
        ),
    )


def _take_verdicts(
    courses: Sequence[Course],
    batch: Sequence[Found],
    told: Callable[[Course, VerdictRecorded | StateEvent], None],
) -> None:
    for record in batch:
        try:
            verdict = read_verdict(read_event(record.value, record.headers))
        except (UnreadableEvent, InvalidEvent):
            continue  # somebody else's record: it can be no verdict on ours
        for course in courses:
            if course.take_verdict(verdict):
                told(course, verdict)


def _take_states(
    courses: Sequence[Course],
    batch: Sequence[Found],
    told: Callable[[Course, VerdictRecorded | StateEvent], None],
) -> None:
    for record in batch:
        event = sight(record).event
        if event is None:
            continue
        for course in courses:
            if course.take_state(event):
                told(course, event)


async def _close(following: AsyncIterator[Sequence[Found]]) -> None:
    close = getattr(following, "aclose", None)
    if close is not None:
        await close()
