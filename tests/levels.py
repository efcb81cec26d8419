"""Runs the levels of proof one after the other and adds them up: `python tests/levels.py [LEVEL …]`.

Each level must run at least one test, skip none, and end within its bound. The last line is the sum.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BIN = ROOT / ".venv" / "bin"
_GIVEN_UP_AFTER_S = 15


@dataclass(frozen=True, slots=True)
class Level:
    """A level: its commands, or a marker of pytest, and the seconds that it may take on two cores."""

    name: str
    bound_s: int
    commands: tuple[tuple[str, ...], ...] = ()
    marker: str = ""
    arguments: tuple[str, ...] = ()
    """More for pytest: where to look, what to cover."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a level ended; `wrong` is empty when all is well."""

    level: str
    seconds: float
    passed: int
    failed: int
    wrong: str


_PURE = "not wire and not broker and not whole and not mutants and not long"
_FAULTS = ("tests/crash", "tests/faults", "tests/soak")
"""Where workers are hurt, on a real Apache Kafka."""
_ROOMS = ("contracts", "saga", "signing", "sealing")
"""The rooms without I/O: their tests must leave next to nothing of them untouched."""

LEVELS = (
    Level(
        name="lint",
        bound_s=300,
        commands=(
            ("ruff", "check"),
            ("ruff", "format", "--check"),
            ("mypy",),
            ("lint-imports",),
            (str(ROOT / ".ci" / "forbidden"),),
        ),
    ),
    Level(
        name="rooms",
        bound_s=400,
        marker=_PURE,
        arguments=(
            *(f"tests/{room}" for room in _ROOMS),
            "--cov=contracts",
            "--cov=worker.saga",
            "--cov=worker.signing",
            "--cov=worker.sealing",
            "--cov-branch",
            "--cov-report=term:skip-covered",
            "--cov-fail-under=98",
        ),
    ),
    Level(
        name="pure",
        bound_s=900,
        marker=_PURE,
        arguments=tuple(f"--ignore=tests/{room}" for room in _ROOMS),
    ),
    Level(name="wire", bound_s=300, marker="wire"),
    Level(name="mutants", bound_s=600, marker="mutants", arguments=("tests/mutations",)),
    Level(
        name="broker",
        bound_s=1_200,
        marker="broker and not whole",
        arguments=tuple(f"--ignore={folder}" for folder in _FAULTS),
    ),
    Level(name="faults", bound_s=3_000, marker="broker and not whole and not long", arguments=_FAULTS),
    Level(name="whole", bound_s=420, marker="whole"),
)


def main(names: list[str]) -> int:
    """Run the named levels, or all; return the exit code."""
    unknown = set(names) - {level.name for level in LEVELS}
    if unknown:
        known = ", ".join(level.name for level in LEVELS)
        sys.stderr.write(f"no such level: {', '.join(sorted(unknown))}. There are: {known}\n")
        return 2
    outcomes = [_run(level) for level in LEVELS if not names or level.name in names]
    _say("")
    for outcome in outcomes:
        _say(
            f"{outcome.level:8} {outcome.seconds:6.1f} s  {outcome.passed:5} passed"
            + (f"  FAILED: {outcome.wrong}" if outcome.wrong else "")
        )
    failed = sum(max(outcome.failed, 1 if outcome.wrong else 0) for outcome in outcomes)
    _say(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed")
    return 1 if failed else 0


def _run(level: Level) -> Outcome:
    _say(f"\n=== {level.name} ===")
    started = time.monotonic()
    passed, failed, wrong = _run_pytest(level) if level.marker else _run_commands(level)
    return Outcome(
        level=level.name, seconds=time.monotonic() - started, passed=passed, failed=failed, wrong=wrong
    )


def _run_commands(level: Level) -> tuple[int, int, str]:
    """Run all commands, also after one has failed: a person wants to see everything at once."""
    deadline = time.monotonic() + level.bound_s
    bad = []
    for program, *arguments in level.commands:
        _say(f"--- {Path(program).name} {' '.join(arguments)}")
        if _within([str(_BIN / program), *arguments], deadline - time.monotonic()) != 0:
            bad.append(Path(program).name)
    return len(level.commands) - len(bad), len(bad), ", ".join(bad)


def _run_pytest(level: Level) -> tuple[int, int, str]:
    with tempfile.TemporaryDirectory(prefix="levels-") as folder:
        report = Path(folder) / "report.xml"
        command = [str(_BIN / "python"), "-m", "pytest", "-q", "-m", level.marker, f"--junit-xml={report}"]
        command += level.arguments
        code = _within(command, level.bound_s)
        if code is None:
            return 0, 1, f"not done within {level.bound_s} s"
        if not report.exists():
            return 0, 1, f"pytest ended with exit code {code} and no report"
        return _judge(report, code)


def _judge(report: Path, code: int) -> tuple[int, int, str]:
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 -- pytest wrote it a moment ago
    if suite is None:
        return 0, 1, "pytest's report is empty"
    total, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    failed = failures + errors
    wrong = []
    if failed:
        wrong.append(f"{failed} failed")
    if skipped:
        wrong.append(f"{skipped} skipped: a test that does not run proves nothing")
    if not total:
        wrong.append("no test ran")
    if code and not wrong:
        wrong.append(f"pytest's exit code {code}")
    return total - failed - skipped, failed + skipped, "; ".join(wrong)


def _within(command: list[str], seconds: float) -> int | None:
    """Return the exit code, or None if the bound passed: the processes are then interrupted, then killed."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)  # noqa: S603 -- our own commands
    try:
        return process.wait(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)  # pytest then says where it was
        try:
            process.wait(timeout=_GIVEN_UP_AFTER_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None
    except BaseException:
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        raise


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
