"""The settings of a worker on a scene: which of them a test may choose, and the file that says them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from tests.faults.payment_side import client_of
from tests.faults.stage import PARTITIONS
from worker.sandbox.payment import key_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.faults.stage import Stage

_CALLED: Final = (
    ("hub", "consult", "/aps/api/v1/authorizations/consultUnbinding"),
    ("tokens", "cancel_token", "/aps/api/v1/authorizations/cancelToken"),
)
_SETTINGS: Final = """\
application = "{prefix}app"
log_format = "json"

[kafka]
bootstrap_servers = ["{servers}"]
session_timeout = "6s"
rebalance_timeout = "20s"
drain_timeout = "8s"
restore_timeout = "30s"
transaction_timeout = "5s"
request_timeout = "5s"

[topics]
prefix = "{prefix}"
partitions = {partitions}
replication = 1

[limits]
in_flight = {total}

[patience.consult]
quick = {quick}
waits = {waits}
give_up_after = "{consult}"

[patience.cancel_token]
quick = {quick}
waits = {waits}
give_up_after = "{cancel}"

[sealing]
keys_file = "{directory}/sealing.toml"
fingerprint_keys_file = "{directory}/prints.toml"

[http]
address = "127.0.0.1:{port}"

"""
_COUNTERPART: Final = """\
[counterparts.{name}]
base_url = "{url}"
client_id = "{client}"
scheme = "header"
key_version = "1"
private_key_file = "{private}"
public_key_files = {{ "1" = "{public}" }}
timeout = "{call_ms}ms"
in_flight = {in_flight}
{rate}
{ca}
paths = {{ {step} = "{path}" }}

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """The worker's settings that a test may choose. Durations as in a settings file."""

    consult: str = "20s"
    """Patience with consult."""
    cancel: str = "20s"
    quick: int = 1
    waits: tuple[str, ...] = ("300ms", "600ms", "1s")
    call_ms: int = 1_500
    in_flight: int = 64
    """Attempts at a time, per counterpart."""
    total: int = 256
    """Attempts at a time, over all counterparts."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Attempts a second, by counterpart."""


def settings_text(
    stage: Stage,
    habits: Habits,
    *,
    worker: str,
    port: int,
    urls: Mapping[str, str],
    certificates: Path | None,
) -> str:
    """Write the settings of a worker's process, as TOML; a counterpart without a URL is the payment side."""
    keys = key_files((stage.directory / "payment").absolute())
    head = _SETTINGS.format(
        prefix=stage.prefix,
        servers='", "'.join(stage.connection.bootstrap_servers.split(",")),
        partitions=PARTITIONS,
        directory=stage.directory,
        port=port,
        total=habits.total,
        quick=habits.quick,
        waits=orjson.dumps(habits.waits).decode(),
        consult=habits.consult,
        cancel=habits.cancel,
    )
    counterparts = [
        _COUNTERPART.format(
            name=name,
            url=urls.get(name, stage.payment_url),
            client=client_of(worker),
            private=keys.client_key,
            public=keys.hub_public,
            call_ms=habits.call_ms,
            in_flight=habits.in_flight,
            rate=f"rate = {habits.rates[name]}" if name in habits.rates else "",
            ca="" if certificates is None else f'ca_file = "{certificates}"',
            step=step,
            path=path,
        )
        for name, step, path in _CALLED
    ]
    return head + "".join(counterparts)
