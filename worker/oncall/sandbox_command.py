"""`unbinding sandbox`: the stand-in for the payment side."""

from pathlib import Path
from typing import Annotated, Final

import typer

from worker.oncall.options import Json
from worker.oncall.outside import outside_of
from worker.oncall.terminal import Terminal
from worker.sandbox.payment import Sandbox, SandboxConfig, load_rules, parse_rules, run_sandbox

_DIRECTORY: Final = Path("var/sandbox")


def sandbox_command(
    context: typer.Context,
    *,
    directory: Annotated[
        Path,
        typer.Option("--directory", metavar="DIR", help="For its keys and certificates; made if missing."),
    ] = _DIRECTORY,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of HTTP; 0: any free one.")] = 0,
    tls: Annotated[bool, typer.Option("--tls", help="HTTPS, too, at any free port.")] = False,
    tls_port: Annotated[
        int | None, typer.Option("--tls-port", min=0, max=65535, help="HTTPS, too, at this port.")
    ] = None,
    tls_host: Annotated[
        list[str] | None,
        typer.Option("--tls-host", metavar="NAME", help="Another name in the certificate; may be repeated."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="How it behaves (TOML or JSON).")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FILE", help="Where it notes every call.")
    ] = None,
    json: Json = False,
) -> None:
    """Run a stand-in for the payment side: it checks and makes signatures for real. Ctrl-C ends it.

    It prints its base URL and the settings with which a worker calls it.

    Example:
      unbinding sandbox --port 8081 --tls
    """
    terminal = outside_of(context).terminal()
    default = SandboxConfig(directory=directory)
    config = SandboxConfig(
        directory=directory,
        host=host,
        port=port,
        tls_port=tls_port if tls_port is not None else 0 if tls else None,
        tls_hosts=(*default.tls_hosts, *(tls_host or ())),
        rules=parse_rules({}) if rules is None else load_rules(rules),
        ledger_file=ledger,
    )
    run_sandbox(config, announce=lambda box: _announce(terminal, box, json=json))


def _announce(terminal: Terminal, box: Sandbox, *, json: bool) -> None:
    if json:
        terminal.data(
            {"baseUrl": box.base_url, "tlsBaseUrl": box.tls_base_url, "settings": box.settings_toml()}
        )
        return
    also = "" if box.tls_base_url is None else f" and {box.tls_base_url}"
    terminal.say(f"the sandbox listens at {box.base_url}{also}; settings of a worker that calls it:")
    terminal.line(f"\n{box.settings_toml()}")
