"""`unbinding run`: the worker."""

from typing import Annotated

import typer

from worker.oncall.errors import CommandError
from worker.oncall.options import Config
from worker.oncall.outside import Outside, outside_of
from worker.oncall.settings_check import findings_of
from worker.oncall.settings_view import findings_table, may_start
from worker.settings import Loaded
from worker.wiring import StartOptions, run


def run_command(
    context: typer.Context,
    *,
    accept_loss: Annotated[
        list[int] | None,
        typer.Option(
            "--accept-loss",
            metavar="PARTITION",
            min=0,
            help="Open this partition although its log or journal has lost something; may be repeated.",
        ),
    ] = None,
    give_up_key: Annotated[
        list[str] | None,
        typer.Option(
            "--give-up-key",
            metavar="ID",
            help="This key is gone for good: park what it sealed; may be repeated.",
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Run the worker until SIGTERM or Ctrl-C; it then finishes its calls and leaves in good order.

    It checks its settings first and does not start with an error in them. Logs go to standard error, health
    and metrics are at http.address: /health/live, /health/ready, /metrics.

    Example:
      unbinding run --config unbinding.toml
    """
    outside = outside_of(context)
    loaded = outside.load(config)
    _check(outside, loaded)
    options = StartOptions(
        accept_loss=frozenset(accept_loss or ()), give_up_keys=frozenset(give_up_key or ())
    )
    run(loaded.settings, options=options)


def _check(outside: Outside, loaded: Loaded) -> None:
    findings = findings_of(loaded)
    if findings:
        outside.terminal().say(findings_table(findings))
    if not may_start(findings):
        raise CommandError("the worker does not start: mend the errors above, see `unbinding settings check`")
