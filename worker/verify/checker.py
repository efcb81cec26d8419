"""Proves the promises P1 to P8 on a history, or says what breaks them, with the records that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.verify.calls_in_time import calls_in_time
from worker.verify.commands_judged import commands_judged
from worker.verify.coverage import Coverage
from worker.verify.events_in_order import events_in_order
from worker.verify.facts import Facts
from worker.verify.journal_agrees import journal_agrees
from worker.verify.letters_stand import letters_stand
from worker.verify.requests_end import requests_end, requests_passed_on
from worker.verify.revokes_permitted import revokes_permitted
from worker.verify.sagas_apart import sagas_apart
from worker.verify.secrets_hidden import secrets_hidden
from worker.verify.violations import Violation

if TYPE_CHECKING:
    from worker.verify.history import History

__all__ = ["Examined", "Violation", "check", "examine", "examine_passed_on"]


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of a history."""

    violations: list[Violation]
    coverage: Coverage


def check(history: History) -> list[Violation]:
    """Return each violation that the history shows; an empty list is the proof."""
    return examine(history).violations


def examine(history: History, *, passed_on: bool = True) -> Examined:
    """Return each violation that the history shows, and what was checked.

    Whoever examines partition by partition leaves what was passed on from one to another for the end.
    """
    coverage = Coverage()
    facts = Facts(history, coverage)
    violations = [
        *requests_end(facts),
        *(requests_passed_on(facts) if passed_on else ()),
        *events_in_order(facts),
        *revokes_permitted(facts),
        *calls_in_time(facts),
        *sagas_apart(facts),
        *letters_stand(facts),
        *commands_judged(facts),
        *journal_agrees(facts),
        *secrets_hidden(facts),
    ]
    return Examined(violations, coverage)


def examine_passed_on(history: History) -> Examined:
    """Return what is wrong with requests that were passed on between partitions, and nothing else."""
    coverage = Coverage()
    return Examined([*requests_passed_on(Facts(history, coverage))], coverage)
