from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.states import Evidence, Reason, State, Step
from tests.saga.walk import HOUR, MINUTE, NOW, RULES, SECOND, TARGETS, Walk, queued, result_of, saga_of
from worker.saga.evolve import evolve
from worker.saga.inputs import (
    Answered,
    Ask,
    Begin,
    Broke,
    Died,
    Discarded,
    FellDue,
    Finish,
    HoldEnded,
    HoldFound,
    Inheritance,
    Joined,
    LineFound,
    LineTried,
    NotBegunYet,
    Park,
    Perform,
    Restored,
    Resumed,
    Turn,
    Wake,
)
from worker.saga.model import Phase, RequestRef, Saga
from worker.saga.patience import GIVE_UP, USER_TIME, GiveUp
from worker.saga.results import ResultClass
from worker.saga.table import FINAL, FLOW, MOVES, Move

if TYPE_CHECKING:
    from worker.saga.inputs import Happened

pytestmark = pytest.mark.promise("P1", "P2", "P3", "P4")

PLANS = [
    (Step.CONSULT, Step.CANCEL_TOKEN),
    (Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT),
    (Step.CONSULT, Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT),
    (Step.CONSULT, Step.CANCEL_TOKEN, Step.NOTIFY_HUB),
    (Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT),
    (Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT),
    (Step.NOTIFY_MERCHANT,),
    (Step.OFFER,),
]
GAPS = (0, 0, 1, SECOND, 30 * SECOND, 2 * MINUTE, 5 * MINUTE + 1, 2 * HOUR, 30 * HOUR)
ENDING = frozenset({Step.CANCEL_TOKEN, Step.CANCEL_AGREEMENT, Step.NOTIFY_MERCHANT, Step.NOTIFY_HUB})
NOTHING_LATER = sum(patience.give_up_after_ms for patience in RULES.patience.values())


@dataclass(slots=True)
class Shell:
    """Plays the shell: numbers choose what happens next, and after each input all promises are checked."""

    walk: Walk
    allowed_at: int | None = None
    promised_at: int = 0
    """No call may be made before."""
    seen: int = 1
    joins: int = 0
    performed: list[Step] = field(default_factory=list)

    def play(self, number: int) -> None:
        """Let something happen that the number chooses."""
        number, gap = divmod(number, len(GAPS))
        self.walk.pass_time(GAPS[gap])
        happening = self.possible()
        self.happen(happening[number % len(happening)])

    def happen(self, happened: Happened) -> None:
        """Let something happen, and check what follows."""
        walk = self.walk
        before = walk.saga
        if isinstance(happened, FellDue) and before.due_at is not None:
            walk.now = max(walk.now, before.due_at)
        walk.happen(happened)
        self.check(before, happened)

    def possible(self) -> list[Happened]:
        """List what the shell may say in this phase; what is likelier stands there more often."""
        saga = self.walk.saga
        rare: list[Happened] = [Restored(), *self.deaths()]
        if saga.phase not in (Phase.PARKED, Phase.ENDED):
            rare += [Broke(reason=Reason.CRASHED, message="broke"), *self.join()]
        match saga.phase:
            case Phase.QUEUED:
                return rare + self.turns()
            case Phase.DUE:
                return [*[Begin()] * 40, *[HoldFound()] * 3, *[LineFound()] * 3, *rare]
            case Phase.CALLING:
                done = Answered(result=result_of(ResultClass.DONE))
                return 4 * self.answers() + [
                    *20 * [done],
                    NotBegunYet(),
                    Broke(reason=Reason.CRASHED, message="broke", begun=False),
                    *rare,
                ]
            case Phase.WAITING:
                return 20 * [FellDue()] + rare
            case Phase.HELD:
                return 12 * [HoldEnded()] + ([FellDue()] if saga.due_at is not None else []) + rare
            case Phase.STOPPED:
                return 12 * [LineTried()] + ([FellDue()] if saga.due_at is not None else []) + rare
            case Phase.PARKED:
                anew = [Resumed(from_start=True)] if not saga.attempted else []
                return [*3 * [Resumed()], *anew, Discarded(), *rare]
            case Phase.ENDED:
                return [Restored()]

    def deaths(self) -> list[Happened]:
        """Let each target be dead, or all."""
        saga = self.walk.saga
        if saga.phase is Phase.ENDED:
            return []
        told = [target for target in saga.targets if target is not TARGETS[Step.NOTIFY_MERCHANT]]
        each: list[Happened] = [
            Died(targets=frozenset({one}), evidence=Evidence.NOTICE, new_agreement=new, announced=announced)
            for one in told
            for new in (False, True)
            for announced in (False, True)
        ]
        if saga.phase is Phase.PARKED and saga.targets:
            each.append(Died(targets=frozenset(saga.targets), evidence=Evidence.ALREADY_UNBOUND))
        return each

    def turns(self) -> list[Happened]:
        """Give it its turn, with what others know and attempted."""
        saga = self.walk.saga
        tried = frozenset(step for step in saga.steps if step in TARGETS)
        return [
            *[Turn()] * 20,
            *(Turn(dead=frozenset({target})) for target in saga.targets),
            Turn(inherited=Inheritance(attempted=tried, undecided=tried)),
            Turn(inherited=Inheritance(attempted=frozenset({Step.NOTIFY_MERCHANT}))),
            Turn(inherited=Inheritance(attempted=frozenset({Step.CANCEL_AGREEMENT}))),
        ]

    def join(self) -> list[Happened]:
        """Let one of eight requests join."""
        saga = self.walk.saga
        if saga.phase is Phase.PARKED or self.joins >= 8 or not saga.targets:
            return []
        self.joins += 1
        ref = RequestRef(f"joined-{self.joins}", bytes([self.joins]))
        return [Joined(request=ref, expires_at=None if self.joins % 3 else self.walk.now + HOUR)]

    def answers(self) -> list[Happened]:
        """Answer the call in each way that its step knows."""
        step = self.walk.saga.step
        return [
            Answered(
                result=result_of(result_class, undecided=undecided, tries=1 + undecided), line_open=undecided
            )
            for result_class in ResultClass
            if step is not None and MOVES[step, result_class] is not Move.ILLEGAL
            for undecided in (True, False)
        ]

    # --- the promises --------------------------------------------------------

    def check(self, before: Saga, happened: Happened) -> None:
        """Check what must hold after every input."""
        self.check_events()
        saga = self.walk.saga
        assert ENDING & set(before.done) <= set(saga.done)
        assert len(set(saga.done)) == len(saga.done) <= len(saga.steps)
        if not isinstance(happened, NotBegunYet | Broke):
            assert before.attempted <= saga.attempted
        assert saga.undecided <= saga.attempted
        assert not saga.undecided & set(saga.done)
        if saga.step is before.step:
            assert saga.attempts >= before.attempts
        if isinstance(happened, Died) and happened.new_agreement and saga.to_cancel_agreement:
            assert (saga.phase is Phase.PARKED) == (before.phase is Phase.PARKED)
        if saga.phase is Phase.WAITING:
            self.check_wait(saga)
        assert (saga.phase is Phase.PARKED) == (saga.state is State.PARKED) == (saga.reason is not None)
        assert (saga.phase is Phase.ENDED) == (saga.state in FINAL)
        self.check_action(saga, before)

    def check_events(self) -> None:
        """Check that states follow as FLOW says, with a sequence without gap."""
        told = self.walk.published
        for index in range(self.seen, len(told)):
            transition = told[index]
            standing = next(one.state for one in reversed(told[:index]) if one.state is not State.JOINED)
            assert transition.sequence == index + 1
            assert transition.state in FLOW[told[index - 1].state]
            assert transition.state in FLOW[standing]
            if transition.state is State.ALLOWED:
                self.allowed_at = self.walk.now
            if transition.next_attempt_at is not None or transition.state is not State.JOINED:
                # A later event takes the promise back: evidence ends a wait.
                self.promised_at = transition.next_attempt_at or 0
        self.seen = len(told)
        assert self.walk.saga.sequence == len(told)

    def check_wait(self, saga: Saga) -> None:
        """Check that the next attempt lies ahead, within patience and before an expiresAt that counts."""
        assert saga.step is not None
        assert saga.due_at is not None
        assert saga.clock_from is not None
        assert saga.due_at <= saga.clock_from + RULES.patience[saga.step].give_up_after_ms
        if saga.expires_at is not None and (saga.step in USER_TIME or not (saga.attempted or saga.revoked)):
            assert saga.due_at < saga.expires_at

    def check_action(self, saga: Saga, before: Saga) -> None:
        """Check that the action fits the saga, and a call all guards."""
        match self.walk.action:
            case Ask(step=step):
                assert (saga.phase, saga.step) == (Phase.DUE, step)
            case Wake(at=at):
                assert saga.due_at == at
            case Park(reason=reason):
                assert saga.reason is reason
            case Finish():
                assert saga.phase is Phase.ENDED
            case Perform(call=call):
                assert (saga.phase, saga.step) == (Phase.CALLING, call.step)
                assert call.query == (call.step in before.undecided and call.step is Step.CANCEL_AGREEMENT)
                self.check_call(saga, before, call.step)
            case _:
                pass

    def check_call(self, saga: Saga, before: Saga, step: Step) -> None:
        """Check that this call may be made now."""
        now = self.walk.now
        self.performed.append(step)
        assert step not in saga.done
        assert now >= self.promised_at
        expired = saga.expires_at is not None and now >= saga.expires_at
        if step in USER_TIME or (not before.attempted and not before.revoked):
            assert not expired
        if step is Step.CONSULT:
            assert Step.CANCEL_TOKEN not in {*saga.attempted, *saga.done}
        if step is Step.CANCEL_TOKEN and saga.consults and step not in before.attempted:
            assert self.allowed_at is not None
            assert now - self.allowed_at <= RULES.permission_ms


def shells(plan: tuple[Step, ...], expiry: int | None) -> Shell:
    """Return a shell with one admitted saga."""
    return Shell(queued(*plan, expires_at=None if expiry is None else NOW + expiry))


PLANNED = st.sampled_from(PLANS)
EXPIRIES = st.sampled_from([None, None, MINUTE, HOUR])
NUMBERS = st.lists(st.integers(0, 2**20), max_size=40)
MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run_out(shell: Shell, answer: ResultClass) -> None:
    """Let nothing more come from outside, each call be answered alike, until the saga ends or parks."""
    for _ in range(300):
        match shell.walk.saga.phase:
            case Phase.QUEUED:
                shell.happen(Turn())
            case Phase.DUE:
                shell.happen(Begin())
            case Phase.CALLING:
                shell.happen(Answered(result=result_of(answer), line_open=False))
            case Phase.WAITING:
                shell.happen(FellDue())
            case Phase.HELD:
                shell.happen(HoldEnded())
            case Phase.STOPPED:
                shell.happen(LineTried())
            case Phase.PARKED | Phase.ENDED:
                return
    raise AssertionError("the saga came to no end")


@MANY
@given(PLANNED, EXPIRIES, NUMBERS)
def test_whatever_happens_keeps_the_promises(
    plan: tuple[Step, ...], expiry: int | None, numbers: list[int]
) -> None:
    """Any list of inputs keeps every promise, and silence then ends within patience, final or parked."""
    shell = shells(plan, expiry)
    for number in numbers:
        shell.play(number)
    began = max(shell.walk.now, shell.walk.saga.due_at or 0)
    run_out(shell, ResultClass.SOON)
    assert shell.walk.now <= began + NOTHING_LATER
    assert sum(transition.state in FINAL for transition in shell.walk.published) == (
        shell.walk.saga.phase is Phase.ENDED
    )


@MANY
@given(PLANNED, EXPIRIES, NUMBERS)
def test_success_ends_every_saga_well(plan: tuple[Step, ...], expiry: int | None, numbers: list[int]) -> None:
    """Whatever happened, when every call succeeds the saga ends, lapses, or was parked before."""
    shell = shells(plan, expiry)
    for number in numbers:
        shell.play(number)
    parked = shell.walk.saga.phase is Phase.PARKED
    run_out(shell, ResultClass.DONE)
    state = shell.walk.saga.state
    if parked or state in (State.LAPSED, State.REFUSED, State.DISCARDED):
        return
    if state is State.PARKED:
        assert shell.walk.saga.reason is Reason.EXPIRED
        return
    assert state is (State.OFFERED if plan == (Step.OFFER,) else State.UNBOUND)
    assert set(shell.walk.saga.done) >= set(plan)


@given(st.sampled_from(sorted(GIVE_UP)), NUMBERS)
def test_lapsed_means_nothing_was_attempted_by_this_step(step: Step, numbers: list[int]) -> None:
    """Only consult and offer lapse when patience is used up; a revocation or a notice parks."""
    assert (GIVE_UP[step] is GiveUp.LAPSE) == (step in USER_TIME)
    shell = shells(PLANS[len(numbers) % len(PLANS)], None)
    for number in numbers:
        shell.play(number)
    saga = shell.walk.saga
    if saga.state is State.LAPSED:
        assert saga.step in USER_TIME


@given(
    st.sets(st.sampled_from([slot.name for slot in fields(Saga)])),
    st.integers(0, 9),
)
def test_evolve_is_replace(names: set[str], number: int) -> None:
    """A changed copy is what dataclasses.replace gives, and the saga it came from stays as it was."""
    saga = saga_of(*PLANS[0])
    changes = dict.fromkeys(names, number)
    assert evolve(saga, **changes) == replace(saga, **changes)  # type: ignore[arg-type]  # any value is copied
    assert saga == saga_of(*PLANS[0])
