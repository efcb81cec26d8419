"""The checker finds each broken promise, and only that one; and finds nothing where all is right."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import worker.verify
from tests.verify.right import RIGHT, event
from tests.verify.wrong import UNREACHED, WRONG
from worker.verify.checker import check, examine
from worker.verify.legal import follows
from worker.verify.violations import KINDS, PROMISES, broken

if TYPE_CHECKING:
    from worker.verify.history import History

ALL = pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8")
EACH_WRONG = [
    pytest.param(kind, history, id=name, marks=pytest.mark.promise(KINDS[kind].promise))
    for name, (kind, history) in WRONG.items()
]


@ALL
@pytest.mark.parametrize("history", RIGHT.values(), ids=RIGHT.keys())
def test_right_history(history: History) -> None:
    """A history that keeps all promises shows no violation."""
    assert [str(violation) for violation in check(history)] == []


@pytest.mark.parametrize(("kind", "history"), EACH_WRONG)
def test_wrong_history(kind: str, history: History) -> None:
    """A history that breaks one promise shows that, with its kind, its records, and no other promise."""
    violations = check(history)
    assert kind in {violation.kind for violation in violations}
    assert {violation.promise for violation in violations} == {KINDS[kind].promise}
    assert all(violation.shown_by and violation.kind in str(violation) for violation in violations)


@ALL
def test_every_kind_is_found_in_a_wrong_history() -> None:
    """Each kind of violation is found in a hand-made history, and each of these is of a known kind."""
    assert {kind for kind, _ in WRONG.values()} | UNREACHED.keys() == KINDS.keys()


@ALL
def test_every_kind_is_made_in_one_place_and_each_place_makes_a_known_kind() -> None:
    """Each kind of the registry stands in the checker's code, and it makes none that is not there."""
    folder = Path(str(worker.verify.__file__)).parent
    texts = {
        node.value
        for file in [*folder.glob("*.py"), folder.parent / "oncall" / "verify_settling.py"]
        if file.name != "violations.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert KINDS.keys() <= texts
    with pytest.raises(KeyError):
        broken("event.of_no_kind", ())


@ALL
def test_every_promise_has_kinds() -> None:
    """Each promise that the checker proves can be found broken."""
    assert {kind.promise for kind in KINDS.values()} == PROMISES.keys()


@ALL
def test_what_was_checked_is_counted() -> None:
    """Of each promise it is told how many were checked, and nothing is told where nothing was."""
    coverage = examine(RIGHT["replayed"]).coverage
    assert coverage.checked["P1"] == {"requests": 1, "sagas": 1}
    assert coverage.checked["P7"] == {"commands": 1, "applied commands": 1}
    assert "P8" not in coverage.checked
    assert not examine(RIGHT["empty"]).coverage.checked


@ALL
@pytest.mark.parametrize(
    ("name", "promise", "why"),
    [
        ("a request not taken yet", "P1", "requests that were not taken yet"),
        ("a command not taken yet", "P7", "commands that were not taken yet"),
        (
            "a window with a repetition of an older request",
            "P1",
            "requests without an event: lost, or repeated from before the window",
        ),
        (
            "a window that begins within a saga",
            "P2",
            "sagas that began before what was read: checked from there on",
        ),
        (
            "a window with the letter of an older saga",
            "P6",
            "letters of sagas that were parked before the window",
        ),
        ("a window before the calls of older sagas", "P3", "calls of sagas that began before what was read"),
    ],
)
def test_what_cannot_be_checked_is_counted(name: str, promise: str, why: str) -> None:
    """What lies outside of the window, or was not taken yet, is told by count: neither kept nor broken."""
    assert examine(RIGHT[name]).coverage.left_out[promise][why] == 1


@pytest.mark.promise("P2")
@pytest.mark.parametrize("state", ["requested", "waiting", "resumed", "parked", "unbound"])
@pytest.mark.parametrize("end", ["refused", "lapsed", "unbound", "offered", "discarded"])
def test_nothing_follows_an_end(end: str, state: str) -> None:
    """After an end no state is legal."""
    assert not follows(event(2, state), standing=end, before=event(1, end))


@pytest.mark.parametrize(("kind", "history"), EACH_WRONG)
def test_no_violation_names_a_token(kind: str, history: History) -> None:
    """What a violation shows has no token and no target in it, whatever the kind."""
    told = "\n".join(str(violation) for violation in check(history))
    assert kind in told
    assert "token:" not in told
    assert "tok-4711" not in told
