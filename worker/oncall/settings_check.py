"""The check of the settings before a start: keys, rings and paths are read as by the worker itself."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

from worker.hub.counterparts import join
from worker.hub.errors import CounterpartUnusable
from worker.reach import SettingUnusable, read_secret
from worker.saga.plan import PROFILE_STEPS, ProfileName
from worker.sealing import KeyFileInvalid, Purpose, read_key_file
from worker.settings import Finding, Loaded, Readers, check
from worker.signing import KeyUnusable, load_signer, load_verifier


def findings_of(loaded: Loaded) -> tuple[Finding, ...]:
    """Check settings, and the files that they name, as the worker would read them at its start."""
    steps = PROFILE_STEPS[ProfileName(loaded.settings.profile.value)]
    return check(loaded, steps=steps, readers=READERS)


def ring_ids(path: Path, *, purpose: Literal["sealing", "fingerprints"]) -> Collection[str]:
    """Return the ids of a key ring for `settings.check`. Raises `ValueError` (fit to show) or `OSError`."""
    try:
        text = path.read_text(encoding="utf-8")
        return tuple(read_key_file(text, purpose=Purpose(purpose), source=str(path)).keys)
    except KeyFileInvalid as error:
        raise ValueError(str(error)) from None
    except UnicodeDecodeError:
        # Its own text quotes the file.
        raise ValueError(f"{path} is not UTF-8") from None


def private_key(content: bytes, *, source: str, password: str | None) -> str:
    """Return the fingerprint of a private key's public half. Raises `ValueError` (fit to show)."""
    try:
        signer = load_signer(content, source=source, password=None if password is None else password.encode())
    except KeyUnusable as error:
        raise ValueError(str(error)) from None
    return signer.verifier.fingerprint


def public_key(content: bytes, *, source: str) -> str:
    """Return the fingerprint of a public key. Raises `ValueError` (fit to show)."""
    try:
        return load_verifier(content, source=source).fingerprint
    except KeyUnusable as error:
        raise ValueError(str(error)) from None


def secret(path: Path) -> str:
    """Return a secret of one line from its file. Raises `ValueError` (fit to show)."""
    try:
        return read_secret(path, name="secret")
    except SettingUnusable as error:
        # The finding names the setting.
        raise ValueError(str(error).removeprefix("secret: ")) from None


def wire_path(base_url: str, path: str) -> str:
    """Return what goes over the wire of a path. Raises `ValueError` (fit to show) if it is not the path."""
    try:
        return join(base_url, path).path
    except CounterpartUnusable as error:
        raise ValueError(str(error)) from None


READERS: Final = Readers(
    ring_ids=ring_ids, private_key=private_key, public_key=public_key, secret=secret, wire_path=wire_path
)
"""What a check is handed: the readers that the start of the worker uses."""
