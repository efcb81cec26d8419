"""What is known of each case while the demo runs: fed by readers of the topics, shown live, waited for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from contracts.commands import CommandKind, VerdictRecorded
from contracts.states import ENDS, BindingStateChanged, State
from worker.oncall.cluster import Found
from worker.oncall.demo.expectations import Act, Case
from worker.oncall.demo.history import StateSeen
from worker.oncall.letters import Letter, letter_of


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far one case has come."""

    case: Case
    states: list[StateSeen] = field(default_factory=list)
    letter: Letter | None = None
    """The open one."""
    letter_key: str | None = None
    """Of the last letter, open or not."""
    verdicts: list[VerdictRecorded] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Tell whether the worker has taken it in."""
        return bool(self.states) or self.letter is not None

    @property
    def ended(self) -> bool:
        """Tell whether its saga has ended."""
        return bool(self.states) and self.states[-1].event.state in ENDS

    @property
    def far_enough_for_the_kill(self) -> bool:
        """Tell whether the state that the kill waits for was published."""
        wanted = self.case.before_kill
        return self.begun and (wanted is None or any(seen.event.state is wanted for seen in self.states))

    @property
    def can_be_ordered(self) -> bool:
        """Tell whether a person could order something now: it is parked."""
        return self.letter is not None and not self.verdicts

    @property
    def settled(self) -> bool:
        """Tell whether nothing more has to happen to it."""
        if self.case.order is not None and not self.verdicts:
            return False
        return self.letter is not None if self.case.expected.letter_open else self.ended

    @property
    def next_attempt_at(self) -> int | None:
        """The moment before which nothing is tried, in ms since the epoch, while it waits."""
        last = self.states[-1].event if self.states else None
        if isinstance(last, BindingStateChanged) and last.state is State.WAITING:
            return last.next_attempt_at_ms
        return None


class Board:
    """The progress of all cases."""

    def __init__(self, plan: Sequence[Case]) -> None:
        self._cases = {case.name: Progress(case=case) for case in plan}
        self._by_request = {
            request_id: self._cases[case.name] for case in plan for request_id in case.request_ids
        }

    def __iter__(self) -> Iterator[Progress]:
        return iter(self._cases.values())

    def of(self, act: Act) -> Iterator[Progress]:
        """Yield those that are published for the first time in this act."""
        return (progress for progress in self if progress.case.published[0].act is act)

    def take_state(self, seen: StateSeen) -> Progress | None:
        """Take one event; return whose it is."""
        progress = self._by_request.get(seen.event.request_ids[0])
        if progress is not None:
            progress.states.append(seen)
        return progress

    def take_letter(self, found: Found) -> Progress | None:
        """Take one record of the dead letters; return whose it is."""
        key = (found.key or b"").decode(errors="replace")
        if found.value is None:
            progress = next((one for one in self if one.letter is not None and one.letter.key == key), None)
            if progress is not None:
                progress.letter = None
            return progress
        letter = letter_of(found)
        request_id = None if letter.headers is None else letter.headers.request_id
        if letter.headers is not None and request_id is None:
            request_id = dict(letter.headers.original).get("ce_id", b"").decode(errors="replace")
        progress = self._by_request.get(request_id or "")
        if progress is not None:
            progress.letter = letter
            progress.letter_key = letter.key
        return progress

    def take_verdict(self, verdict: VerdictRecorded) -> Progress | None:
        """Take one verdict; return whose it is."""
        progress = next((one for one in self if one.letter_key == verdict.letter), None)
        if progress is not None:
            progress.verdicts.append(verdict)
        return progress

    def to_order(self, kind: CommandKind) -> list[Letter]:
        """Return the letters for which a person gives this order."""
        return [
            progress.letter
            for progress in self
            if progress.case.order is kind and progress.letter is not None
        ]
