"""What can happen to a saga (inputs) and what the shell has to do next (actions): a few frozen types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from worker.saga.table import Happening

if TYPE_CHECKING:
    from contracts.states import Evidence, Reason, Step
    from worker.saga.model import RequestRef, Saga, Target, Transition
    from worker.saga.results import Call, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """What a parked saga of the same binding attempted on a target of this one."""

    attempted: frozenset[Step] = frozenset()
    undecided: frozenset[Step] = frozenset()
    acquirer_id: str | None = None
    psp_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Its turn in the lane came; ``dead`` are the targets that others have shown to be dead."""

    happening: ClassVar = Happening.TURN
    dead: frozenset[Target] = frozenset()
    inherited: Inheritance | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """Neither a hold nor a stopped line is in the way of the step that is due."""

    happening: ClassVar = Happening.BEGIN


@dataclass(frozen=True, slots=True)
class HoldFound:
    """The step that is due is under a hold."""

    happening: ClassVar = Happening.HOLD_FOUND


@dataclass(frozen=True, slots=True)
class LineFound:
    """The line of the step that is due is stopped, and this saga is not its probe."""

    happening: ClassVar = Happening.LINE_FOUND


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The call that was decided has a result; ``line_open``: no other saga has stopped its line yet."""

    happening: ClassVar = Happening.ANSWERED
    result: Result
    line_open: bool = True
    stood_ms: int = 0
    """How long the step's first attempt stood in line, decided and not begun: that uses up no patience."""


@dataclass(frozen=True, slots=True)
class NotBegunYet:
    """The call that was decided never began, and the shard lets go."""

    happening: ClassVar = Happening.NOT_BEGUN


@dataclass(frozen=True, slots=True)
class FellDue:
    """The durable timer fired."""

    happening: ClassVar = Happening.FELL_DUE


@dataclass(frozen=True, slots=True)
class HoldEnded:
    """No hold is in the way any more."""

    happening: ClassVar = Happening.HOLD_ENDED


@dataclass(frozen=True, slots=True)
class LineTried:
    """The line opened again, or this saga is its probe."""

    happening: ClassVar = Happening.LINE_TRIED


@dataclass(frozen=True, slots=True)
class Restored:
    """It was read from the journal: what the journal does not show to be answered may have happened."""

    happening: ClassVar = Happening.RESTORED


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Another request with the same targets (or fewer) came."""

    happening: ClassVar = Happening.JOINED
    request: RequestRef
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """Targets of this saga are dead by now, and the evidence for it."""

    happening: ClassVar = Happening.DIED
    targets: frozenset[Target]
    evidence: Evidence
    new_agreement: bool = False
    """A cancel of its agreement could end a new one from now on: a parked saga does not go on towards it."""
    announced: bool = False
    """Another saga tells the hub of the token's end, or has told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broke:
    """Its handling raised, its transition cannot be written, or its lane is full."""

    happening: ClassVar = Happening.BROKE
    reason: Reason
    message: str
    begun: bool = True
    """Bytes of the call under way may have left; ``False`` takes its decision back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A person replays it: from the failed step, or from the start."""

    happening: ClassVar = Happening.RESUMED
    from_start: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """A person decided that it needs nothing."""

    happening: ClassVar = Happening.DISCARDED


Happened = (
    Turn
    | Begin
    | HoldFound
    | LineFound
    | Answered
    | NotBegunYet
    | FellDue
    | HoldEnded
    | LineTried
    | Restored
    | Joined
    | Died
    | Broke
    | Resumed
    | Discarded
)


@dataclass(frozen=True, slots=True)
class Ask:
    """The step is due: look for a hold and at the line, then say Begin, HoldFound or LineFound."""

    step: Step


@dataclass(frozen=True, slots=True)
class Perform:
    """Make this call once the decision is committed."""

    call: Call


@dataclass(frozen=True, slots=True)
class Wake:
    """Set the durable timer."""

    at: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do now: queued, held, stopped, or a call is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Write the dead letter; the saga leaves its lane."""

    reason: Reason
    message: str | None


@dataclass(frozen=True, slots=True)
class Requeue:
    """A parked saga is alive again: put it at its lane's end and remove its letter."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The saga has ended."""


Action = Ask | Perform | Wake | Rest | Park | Requeue | Finish


@dataclass(frozen=True, slots=True)
class Decision:
    """The saga after what happened, what to publish, and what to do next."""

    saga: Saga
    transitions: tuple[Transition, ...]
    action: Action
