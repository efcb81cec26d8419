"""What a sandbox is told at its start, and the worker settings that fit it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contracts.states import Step
from worker.sandbox.payment.apis import APIS
from worker.sandbox.payment.apis.api import Parties
from worker.sandbox.payment.keys import KEY_VERSION, KeyFiles
from worker.sandbox.payment.rules import Rules, parse_rules

HUB_CLIENT: Final = "SANDBOX_HUB_CLIENT_01"
"""The client id of a worker at the hub (consultUnbinding)."""
TOKENS_CLIENT: Final = "SANDBOX_TOKENS_CLIENT_01"
"""The client id of a worker at the wallet's token service (cancelToken)."""

_COUNTERPARTS: Final = {"hub": (HUB_CLIENT, (Step.CONSULT,)), "tokens": (TOKENS_CLIENT, (Step.CANCEL_TOKEN,))}


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Where the sandbox listens and what it knows from the start. Times are milliseconds."""

    directory: Path
    """Keys and certificates are made here, or taken up again."""
    host: str = "127.0.0.1"
    port: int = 0
    """Of HTTP; 0: any free one."""
    tls_port: int | None = None
    """Of HTTPS; 0: any free one; ``None``: no HTTPS."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """Certificate and key to use instead of self-made ones."""
    tls_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Names and addresses in the self-made certificate."""
    rules: Rules = field(default_factory=lambda: parse_rules({}))
    ledger_file: Path | None = None
    clients: tuple[str, ...] = (HUB_CLIENT, TOKENS_CLIENT)
    """Client ids that are known here; all bear the one client key."""
    paths: Mapping[Step, str] = field(default_factory=dict)
    """Paths that differ from the documented ones."""
    parties: Parties = field(default_factory=Parties)
    allowed_skew_ms: int | None = 300_000
    """How far Request-Time may be off; ``None``: any. No document names a limit."""

    def path(self, step: Step) -> str:
        """Return the path of a step's API."""
        return self.paths.get(step) or next(api.path for api in APIS if api.step is step)


def settings_toml(config: SandboxConfig, *, base_url: str, keys: KeyFiles, ca: Path | None = None) -> str:
    """Write the part of a worker's settings file that lets it call this sandbox, as TOML text.

    ``base_url`` and files are as the worker sees them; ``ca`` is for HTTPS with a self-made certificate.
    """
    return "\n".join(
        _counterpart(
            config, name, base_url=base_url, keys=keys, ca=ca if base_url.startswith("https:") else None
        )
        for name in _COUNTERPARTS
    )


def _counterpart(config: SandboxConfig, name: str, *, base_url: str, keys: KeyFiles, ca: Path | None) -> str:
    client, steps = _COUNTERPARTS[name]
    paths = ", ".join(f"{step.value} = {_quoted(config.path(step))}" for step in steps)
    lines = [
        f"[counterparts.{name}]",
        f"base_url = {_quoted(base_url)}",
        f"client_id = {_quoted(client if client in config.clients else config.clients[0])}",
        'scheme = "header"',
        f"key_version = {_quoted(KEY_VERSION)}",
        f"private_key_file = {_quoted(str(keys.client_key))}",
        f"public_key_files = {{ {_quoted(KEY_VERSION)} = {_quoted(str(keys.hub_public))} }}",
        f"paths = {{ {paths} }}",
    ]
    if ca is not None:
        lines.append(f"ca_file = {_quoted(str(ca))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
