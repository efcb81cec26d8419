"""Whom a failure is blamed on: an input that the broker refuses, or that raises here, is found and parked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contracts.states import Reason
from worker.shard.faults import Blame

if TYPE_CHECKING:
    from worker.ports import WriteRefused
    from worker.shard.faults import HandlingFailed
    from worker.shard.unit import Unit

COMMANDS_GAP_MS: Final = 30_000
"""How long commands wait when a verdict could not be written."""
SINGLES: Final = 100
"""How many inputs are committed one by one after a deterministic failure."""


class Culprits:
    """Outlives the memory: a failure ends in a local crash, and what it taught counts after the restore."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[Reason, str]] = {}
        """By a record's origin or a saga: why it is parked before anything else is done with it."""
        self.one_by_one = False
        """A culprit is sought: each unit takes one input only."""
        self.commands_from = 0
        """Commands wait until then (ms since the Unix epoch)."""
        self.refusals = 0
        """Inputs blamed since the broker last took a unit without one: from two on it may refuse them all."""
        self._rested = False
        """The shard has rested since the last input was blamed: one more may be, if it is the record."""
        self._gave_up = False
        """The next try seeks on at once, one input at a time: what can be written is written."""
        self._singles = 0
        self._last_input: str | None = None
        self._last_is_command = False

    def blame(self, key: str, *, command: bool = False) -> Blame:
        """Note which input is handled; if it raises it will be parked, its neighbours not."""
        self._last_input = key
        self._last_is_command = command
        return Blame(key)

    def blame_nobody(self) -> None:
        """Note that no input has been handled yet: what fails now is not the fault of one."""
        self._last_input = None
        if self._gave_up:
            self._gave_up = False
            self.one_by_one = True
            self._singles = 0

    def took_one(self, *, last: bool) -> None:
        """Count a unit of one input; ``last``: there is no other to look at."""
        self._singles += 1
        self.one_by_one = self._singles < SINGLES and not last

    def settle(self, unit: Unit) -> None:
        """Hold nothing more against inputs that are parked now: a person may replay them."""
        for key in unit.settled:
            self.named.pop(key, None)
        if unit.told and not unit.settled:
            self.refusals = 0

    def refused(self, error: WriteRefused, *, serving: bool, now_at: int) -> bool:
        """Find the culprit of a deterministic failure one by one, and name it; else give up (False).

        Without a search under way afterwards (``one_by_one``) the shard can only wait for the broker. A topic
        that refuses whatever the record is costs one input; nobody more is blamed until a unit is committed.
        """
        culprit = self._last_input
        if not self.one_by_one or culprit is None:
            if self.refusals > 1 and not error.of_input:
                return self._give_up()
            self.one_by_one = serving
            self._singles = 0
            return True
        if culprit in self.named and self._last_is_command:
            # Its verdict cannot be written now. A command has no letter: it waits, requests go on.
            del self.named[culprit]
            self.commands_from = now_at + COMMANDS_GAP_MS
            return True
        self.refusals += 1
        rested = self._rested and error.of_input
        if culprit in self.named or (self.refusals > 1 and not rested):
            # Not even its letter can be written, or every input is refused: it is not the input's fault.
            # Rest for a while, and begin anew, instead of parking them all.
            return self._give_up()
        self._rested = False
        self.named[culprit] = (Reason.UNWRITABLE, str(error))
        return True

    def _give_up(self) -> bool:
        self.named.clear()
        self.one_by_one = False
        self._rested = self._gave_up = True
        return False

    def failed(self, failure: HandlingFailed) -> bool:
        """Name an input whose handling raised; if even parking it raises, give up (False)."""
        if failure.key in self.named:
            self.named.clear()
            return False
        message = f"its handling raised {type(failure.error).__name__} inside the worker"
        self.named[failure.key] = (Reason.CRASHED, message)
        return True
