"""Settings in which nothing is wrong, and their check with the readers of the worker's start."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from worker.oncall.settings_check import READERS
from worker.saga.plan import PROFILE_STEPS, ProfileName
from worker.settings import CounterpartName, Finding, Loaded, Profile, check, counterpart_of, load
from worker.settings.show import toml_value

PASSWORD = "correct-horse"
_MAPS = ("PATHS", "PUBLIC_KEY_FILES", "QUERY_WORDS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The keys of one test run."""

    ours: PrivateKeyTypes
    theirs: PrivateKeyTypes


def private_pem(key: PrivateKeyTypes, password: str | None = None) -> bytes:
    """Return a private key as PEM, encrypted with the password if there is one."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_bytes(key: PublicKeyTypes, encoding: Encoding = Encoding.PEM) -> bytes:
    """Return a public key as PEM or DER."""
    return key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def ring_ids(path: Path, *, purpose: str) -> Collection[str]:
    """Read a stand-in for a key ring: its purpose, then its ids."""
    own, *ids = path.read_text().split()
    if own != purpose:
        raise ValueError(f"its purpose is {own}")
    return ids


def judged(loaded: Loaded) -> tuple[Finding, ...]:
    """Check settings with the steps of their profile."""
    steps = PROFILE_STEPS[ProfileName(loaded.settings.profile.value)]
    return check(loaded, steps=steps, readers=replace(READERS, ring_ids=ring_ids))


def found(environ: Mapping[str, str]) -> dict[str, Finding]:
    """Return what the check finds, by name."""
    return {finding.name: finding for finding in judged(load(environ=environ))}


def only(environ: dict[str, str], **changes: str) -> Finding:
    """Return the one thing that the check finds when these variables are set too."""
    (finding,) = judged(load(environ=environ | {f"UNBINDING_{name}": text for name, text in changes.items()}))
    assert finding.what
    assert finding.remedy
    return finding


def of_profile(environ: Mapping[str, str], profile: Profile) -> dict[str, str]:
    """Return the variables that a worker of this profile needs."""
    steps = PROFILE_STEPS[ProfileName(profile.value)]
    called = {counterpart_of(step, profile=profile) for step in steps}
    spared = [f"__{name.value.upper()}__" for name in CounterpartName if name not in called]
    kept = {name: text for name, text in environ.items() if not any(part in name for part in spared)}
    return kept | {"UNBINDING_PROFILE": profile.value}


def as_toml(environ: Mapping[str, str]) -> str:
    """Write variables as a settings file."""
    sections: dict[str, list[str]] = {}
    for variable, text in environ.items():
        section, _, key = variable.removeprefix("UNBINDING_").lower().replace("__", ".").rpartition(".")
        value = json.loads(text) if variable.endswith(_MAPS) else text
        sections.setdefault(section, []).append(f"{key} = {toml_value(value)}")
    top = "\n".join(sections.pop("", []))
    rest = "\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items())
    return f"{top}\n{rest}\n"
