"""One system that we call: its address, our client id there, keys and limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx

from worker.hub.errors import CounterpartUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from contracts.states import Step
    from worker.signing import PublicKeys, Signer

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterpart:
    """One counterpart as the hub needs it; settings are turned into it elsewhere."""

    name: str
    """``hub``, ``tokens`` …: a name of ours, seen in lines, logs and metrics."""
    base_url: str
    """Scheme, host and, where it has one, port and path prefix; never derived from another environment's."""
    client_id: str
    """Header ``Client-Id``: ours at this counterpart, the same in its answers."""
    key_version: str
    """Names our key pair in ``Signature``."""
    signer: Signer = field(repr=False)
    public_keys: PublicKeys = field(repr=False)
    """The counterpart's keys, under our client id."""
    paths: Mapping[Step, str]
    """The steps it takes, and the path of each (with query, if it has one), as it goes over the wire."""
    timeout_ms: int = 5_000
    """For one attempt as a whole, connecting included (Alipay+, "Timeouts": 5 s for each of these calls)."""
    in_flight: int = 64
    """Attempts at a time, in this process."""
    rate: float | None = None
    """Attempts a second at most, in this process; ``None``: no limit until the counterpart asks for one."""
    ca_file: Path | None = None
    """PEM: trust these certificates instead of the system's."""
    client_cert_file: Path | None = None
    """PEM: our certificate and its key, where the counterpart wants one."""

    def __post_init__(self) -> None:
        """Refuse what cannot work. Raises CounterpartUnusable."""
        if self.timeout_ms <= 0 or self.in_flight <= 0 or (self.rate is not None and self.rate <= 0):
            raise CounterpartUnusable(
                f"counterpart {self.name}: timeout, in_flight and rate must be above zero"
            )
        _check_base_url(self.name, self.base_url)

    @property
    def line(self) -> str:
        """The line that all calls with this client's keys share."""
        return f"{self.name}:{self.client_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a step's calls go: the URL, parsed once, and the path that is signed."""

    url: httpx.URL
    path: str
    """Path and query exactly as the request line has them."""


def endpoint(counterpart: Counterpart, step: Step) -> Endpoint:
    """Return where a step's calls go. Raises CounterpartUnusable as ``join`` does."""
    try:
        return join(counterpart.base_url, counterpart.paths[step])
    except CounterpartUnusable as error:
        where = f"counterpart {counterpart.name}, path of step {step.value}"
        raise CounterpartUnusable(f"{where}: {error}") from None


def join(base_url: str, path: str) -> Endpoint:
    """Join base URL and path. Raises CounterpartUnusable where they would not go over the wire as written."""
    if not path.startswith("/"):
        raise CounterpartUnusable(f"{path!r} must begin with '/'")
    prefix = _parsed(base_url).path.rstrip("/")
    url = _parsed(base_url.rstrip("/") + path)
    on_the_wire = url.raw_path.decode("ascii")
    # Signed and sent must be the same bytes: a path that a URL parser rewrites is refused, not rewritten.
    if on_the_wire != prefix + path:
        raise CounterpartUnusable(
            f"{path!r} would be sent as {on_the_wire.removeprefix(prefix)!r}: write it so, "
            "percent-encoded and without '#', '.' or '..' segments"
        )
    if on_the_wire.endswith("?"):
        raise CounterpartUnusable(f"{path!r} ends in an empty query: leave the '?' out")
    return Endpoint(url=url, path=on_the_wire)


def _check_base_url(name: str, base_url: str) -> None:
    where = f"counterpart {name}, base_url"
    try:
        url = _parsed(base_url)
    except CounterpartUnusable as error:
        raise CounterpartUnusable(f"{where}: {error}") from None
    if url.scheme not in {"https", "http"} or not url.host:
        raise CounterpartUnusable(
            f"{where}: {base_url!r} is no address; expected https://HOST or https://HOST/PREFIX"
        )
    if url.scheme == "http" and url.host not in _LOOPBACK:
        raise CounterpartUnusable(
            f"{where}: tokens go over https only (http is taken for this machine alone)"
        )
    if url.userinfo or url.query or url.fragment:
        raise CounterpartUnusable(f"{where}: no user, query or fragment may stand in it")


def _parsed(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:
        raise CounterpartUnusable(f"{text!r} is no URL: {error}") from None
