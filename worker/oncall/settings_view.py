"""What `unbinding settings` and `unbinding keys new` show and write; the command line itself is elsewhere.

Errors:

    KeysNotWritten     a key ring could not be made; nothing was overwritten
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import orjson
from rich.table import Table
from rich.text import Text

from worker.sealing import FILE_MODE, KeyFileInvalid, Purpose, new_key_file, write_key_file
from worker.settings import Finding, Row, Severity

_STYLES: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


class KeysNotWritten(Exception):
    """A key ring could not be made; the text says which file, why, and what to do."""


def settings_table(rows: Sequence[Row]) -> Table:
    """Return the settings for people: name, value, where it came from, and what it is for."""
    table = Table(title="Settings", title_justify="left", expand=False)
    for column in ("name", "value", "from", "what it is for"):
        table.add_column(column, overflow="fold")
    for row in rows:
        value = Text("not set", style="dim") if row.value is None else Text(_value_text(row.value))
        table.add_row(
            Text(row.name), value, Text(row.origin or row.source.value), Text(row.sentence, style="dim")
        )
    return table


def settings_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the settings as JSON Lines."""
    for row in rows:
        yield orjson.dumps(
            {
                "name": row.name,
                "value": row.value,
                "source": row.source.value,
                "origin": row.origin,
                "secret": row.secret,
                "doc": row.sentence,
            }
        ).decode()


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return what a check found for people, errors first."""
    table = Table(title="Check of the settings", title_justify="left", expand=False)
    for column in ("", "setting", "what is wrong", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        name = Text(finding.name)
        if finding.origin is not None:
            name.append(f"\n{finding.origin}", style="dim")
        table.add_row(
            Text(finding.severity.value, style=_STYLES[finding.severity]),
            name,
            Text(finding.what),
            Text(finding.remedy),
        )
    return table


def findings_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield what a check found as JSON Lines."""
    for finding in findings:
        yield orjson.dumps(
            {
                "severity": finding.severity.value,
                "name": finding.name,
                "origin": finding.origin,
                "what": finding.what,
                "remedy": finding.remedy,
            }
        ).decode()


def may_start(findings: Sequence[Finding]) -> bool:
    """Tell whether a worker may start: there is no error, warnings do not count."""
    return all(finding.severity is not Severity.ERROR for finding in findings)


def write_new_keys(directory: Path, *, key_id: str) -> dict[Purpose, Path]:
    """Make both key rings, each with one new key of this id: `sealing-keys.toml`, `fingerprints-keys.toml`.

    The files are made with mode 0600 before a key is written, flushed to disk, and overwrite none: if either
    exists, neither is made. Raises `KeysNotWritten`.
    """
    paths = {purpose: directory / f"{purpose.value}-keys.toml" for purpose in Purpose}
    taken = [str(path) for path in paths.values() if path.is_symlink() or path.exists()]
    if taken:
        raise KeysNotWritten(
            f"{' and '.join(taken)} exists already: a lost key makes sealed requests unreadable for ever, "
            "so nothing is overwritten; choose another directory"
        )
    written: list[Path] = []
    try:
        for purpose, path in paths.items():
            text = write_key_file(new_key_file(purpose=purpose, key_id=key_id))
            _create_secret(path, text, written)
        _flush_directory(directory)
    except KeyFileInvalid as error:
        raise KeysNotWritten(f"no key ring was made: {error}") from None
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise KeysNotWritten(
            f"no key ring was made in {directory}: {error.strerror}; "
            "check that the directory exists and may be written to"
        ) from None
    return paths


def _create_secret(path: Path, text: str, written: list[Path]) -> None:
    # O_EXCL: refuse a file, or a link, that appeared since the look above.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    written.append(path)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _flush_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _value_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
