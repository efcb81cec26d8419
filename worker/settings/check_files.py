"""Checks of the files that leaves name: whether they can be read, by whom, and what they should hold."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worker.settings.findings import Finding, error, warning
from worker.settings.readers import Secret

_FILE_MOST: Final = 4 * 1024 * 1024
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----")
_PEM_PUBLIC: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----")
_PEM_PRIVATE: Final = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")


def content_of(name: str, path: Path) -> bytes | Finding:
    """Return what the file of a leaf holds, or what keeps it from being read."""
    try:
        if not path.exists():
            return error(name, f"{path} does not exist", "check the path, and that the volume is mounted")
        if not path.is_file():
            return error(name, f"{path} is no file", "give the path of a file")
        with path.open("rb") as opened:
            content = opened.read(_FILE_MOST)
    except (OSError, ValueError) as refusal:
        told = refusal.strerror if isinstance(refusal, OSError) else "its name cannot be used"
        return error(name, f"{path} cannot be read: {told}", "check owner, mode and path")
    if not content.strip():
        return error(name, f"{path} is empty", "check what wrote it")
    return content


def certificate(name: str, path: Path) -> Iterator[Finding]:
    """Tell what keeps a file from being a certificate in PEM."""
    yield from _pem(name, path, form=_CERTIFICATE, expected="a certificate (PEM)")


def pem_private_key(name: str, path: Path) -> Iterator[Finding]:
    """Tell what keeps a file from being a private key in PEM, of any kind, as TLS takes it."""
    yield from _pem(name, path, form=_PEM_PRIVATE, expected="a private key (PEM)")
    yield from open_to_all(name, path)


def pem_public_key(name: str, path: Path) -> Iterator[Finding]:
    """Tell what keeps a file from being a public key in PEM, of any kind."""
    yield from _pem(name, path, form=_PEM_PUBLIC, expected="a public key (PEM)")


def secret(name: str, path: Path, read: Secret) -> str | Finding:
    """Return the secret in the file of a leaf, or what keeps it from being used."""
    content = content_of(name, path)
    if isinstance(content, Finding):
        return content
    try:
        return read(path)
    except ValueError as refusal:
        return error(name, f"{refusal}", "write the secret alone into it, on one line, as UTF-8")


def open_to_all(name: str, path: Path) -> Iterator[Finding]:
    """Warn where a file with a secret in it can be read by everybody on the machine."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if os.name == "posix" and mode & stat.S_IROTH:
        yield warning(name, f"{path} can be read by every user of this machine", f"chmod o-rwx {path}")


def _pem(name: str, path: Path, *, form: re.Pattern[bytes], expected: str) -> Iterator[Finding]:
    content = content_of(name, path)
    if isinstance(content, Finding):
        yield content
    elif not form.search(content):
        yield error(name, f"{path} does not hold {expected}", "check whether two files were swapped")
