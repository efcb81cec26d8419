"""Checks of one counterpart: address, limits, edition, signatures, words and environment."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from contracts.states import Step
from worker.settings.check_files import certificate, open_to_all
from worker.settings.check_keys import counterpart_keys
from worker.settings.check_paths import paths
from worker.settings.counterparts import Counterpart
from worker.settings.findings import Finding, error, warning
from worker.settings.load import Loaded
from worker.settings.readers import Readers
from worker.settings.sources import Source
from worker.settings.units import is_loopback
from worker.settings.words import AgreementStatus, CounterpartName, Edition, Hash, Profile, Scheme

SANDBOX_ID: Final = "SANDBOX_"
"""How the client ids of the sandboxes begin (Alipay+, "Develop in sandbox")."""
SANDBOX_SEGMENT: Final = "/sandbox/"
"""In the paths of Antom's sandbox, which has the hosts of production (Antom, "Revoke an access token")."""
ALIPAYPLUS_PRODUCTION: Final = "open-*.alipayplus.com"
"""The hosts of Alipay+ in production; the sandbox's are shown in its console (Alipay+, "API overview")."""

_SCHEMES: Final[Mapping[CounterpartName, Scheme]] = MappingProxyType(
    {
        CounterpartName.HUB: Scheme.HEADER,
        CounterpartName.TOKENS: Scheme.HEADER,
        CounterpartName.ANTOM: Scheme.HEADER,
        CounterpartName.ALIPAYHK: Scheme.ENVELOPE,
    }
)
"""The documents give no scheme for accountUnbinding: merchants may speak either."""
_EDITIONS: Final[Mapping[Profile, Edition]] = MappingProxyType(
    {Profile.WALLET: Edition.WALLET, Profile.ACQUIRER: Edition.ACQUIRER}
)
"""The others may speak either."""


def counterpart(
    loaded: Loaded, name: CounterpartName, *, steps: tuple[Step, ...], readers: Readers
) -> Iterator[Finding]:
    """Tell what is wrong with a counterpart, if it is configured; `steps` are those that call it."""
    found = loaded.settings.counterparts.get(name)
    if found is None:
        return
    section = f"counterparts.{name}"
    profile = loaded.settings.profile
    if not steps:
        what = f"no step of profile {profile} that is on calls it"
        yield warning(section, what, "remove it, or check `profile` and `steps`")
    yield from paths(found, section, steps=steps, wire_path=readers.wire_path)
    url = urlsplit(found.base_url)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        what = "is plain http to another machine: tokens would be readable on the way"
        yield error(f"{section}.base_url", what, "use https")
    yield from counterpart_keys(found, section, readers)
    yield from _tls_files(found, section)
    if found.in_flight > loaded.settings.limits.in_flight:
        what = "is above limits.in_flight, which holds over all counterparts"
        yield warning(f"{section}.in_flight", what, "lower it, or raise limits.in_flight")
    if loaded.source(f"{section}.edition") is not Source.DEFAULT:
        yield from _edition(found, name, profile)
    yield from _signatures(loaded, found, name)
    if Step.CANCEL_AGREEMENT in steps:
        yield from _query_words(found, section)
    yield from _environment(found, name)


def _tls_files(found: Counterpart, section: str) -> Iterator[Finding]:
    if found.ca_file is not None:
        yield from certificate(f"{section}.ca_file", found.ca_file)
    if found.client_cert_file is not None:
        name = f"{section}.client_cert_file"
        yield from certificate(name, found.client_cert_file)
        yield from open_to_all(name, found.client_cert_file)


def _edition(found: Counterpart, name: CounterpartName, profile: Profile) -> Iterator[Finding]:
    """Judge an edition that was given; left out, the worker takes the profile's own."""
    leaf = f"counterparts.{name}.edition"
    wanted = _EDITIONS.get(profile, found.edition)
    if name is not CounterpartName.TOKENS:
        yield warning(leaf, "is set, and nothing looks at it: only tokens has editions", "remove it")
    elif found.edition is not wanted:
        what = f"is {found.edition}, but profile {profile} speaks the {wanted} edition"
        yield error(leaf, what, f'set edition = "{wanted}", or leave it out')


def _signatures(loaded: Loaded, found: Counterpart, name: CounterpartName) -> Iterator[Finding]:
    section = f"counterparts.{name}"
    wanted = _SCHEMES.get(name, found.scheme)
    if found.scheme is not wanted:
        what = f"is {found.scheme}, but the APIs of {name} carry their signature in the {wanted}"
        yield error(f"{section}.scheme", what, f'set scheme = "{wanted}", or leave it out')
    # Merchants that speak `header` leave the hash out: its default is meant for the envelope.
    given = loaded.source(f"{section}.hash") is not Source.DEFAULT
    if given and found.hash is Hash.SHA1 and wanted is Scheme.HEADER:
        what = f"is {found.hash}, but signatures in the header are made with SHA-256 only"
        yield error(f"{section}.hash", what, f'set hash = "{Hash.SHA256}", or leave it out')


def _query_words(found: Counterpart, section: str) -> Iterator[Finding]:
    leaf = f"{section}.query_words"
    remedy = "list the status words that AlipayHK gave you, each as `ended` or `live`"
    if not found.query_words:
        what = "is empty: no query settles an undecided cancel, which then parks when patience is used up"
        yield warning(leaf, what, remedy)
        return
    known = set(found.query_words.values())
    if AgreementStatus.ENDED not in known:
        what = (
            "has no word for `ended`: no query shows that an undecided cancel had its effect, "
            "so that it parks when patience is used up"
        )
        yield warning(leaf, what, remedy)
    if AgreementStatus.LIVE not in known:
        what = (
            "has no word for `live`: no query shows that an undecided cancel had no effect, "
            "so that it is asked about until patience is used up and never made again"
        )
        yield warning(leaf, what, remedy)


def _environment(found: Counterpart, name: CounterpartName) -> Iterator[Finding]:
    """Warn where client id, host and path seem to be of different environments."""
    section = f"counterparts.{name}"
    url = urlsplit(found.base_url)
    host = url.hostname or ""
    is_sandbox_id = found.client_id.startswith(SANDBOX_ID)
    if is_sandbox_id and fnmatchcase(host, ALIPAYPLUS_PRODUCTION):
        what = f"begins with {SANDBOX_ID}, but {host} is production: ids and keys of the two differ"
        yield warning(f"{section}.client_id", what, "use id and keys of production, or the sandbox's host")
    if name is not CounterpartName.ANTOM or is_loopback(host):
        return
    for key, path in found.paths.items():
        if (SANDBOX_SEGMENT in url.path + path) is is_sandbox_id:
            continue
        if is_sandbox_id:
            what = f"has a path of {key} without {SANDBOX_SEGMENT}, but client_id begins with {SANDBOX_ID}"
            remedy = "use the sandbox's path (/ams/sandbox/api/…), or id and keys of production"
        else:
            what = (
                f"has a path of {key} with {SANDBOX_SEGMENT}, but client_id does not begin with {SANDBOX_ID}"
            )
            remedy = "use the path of production (/ams/api/…), or id and keys of the sandbox"
        yield warning(f"{section}.paths", what, remedy)
