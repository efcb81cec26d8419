"""Reads the sandbox's ledger of calls over HTTP."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from worker.oncall.errors import PartlyDone, UsageWrong
from worker.verify.calls import Call

_PAGE: Final = 1000
_PATIENCE_S: Final = 10


def check_url(url: str) -> str:
    """Return the ledger's base URL. Raises `UsageWrong`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageWrong("--ledger must be the sandbox's base URL, such as http://127.0.0.1:8900")
    return url.rstrip("/")


def read_calls(base_url: str) -> list[Call]:
    """Return all calls that name a token, in the order of their numbers. Raises `PartlyDone`."""
    opener = build_opener(ProxyHandler({}))  # the sandbox is near: no proxy stands between
    calls: list[Call] = []
    after: int | None = 0
    while after is not None:
        url = f"{base_url}/sandbox/ledger?after={after}&limit={_PAGE}"
        try:
            with opener.open(url, timeout=_PATIENCE_S) as answer:
                page: dict[str, Any] = json.load(answer)
            calls += [_call(found) for found in page["calls"] if found["fingerprint"] is not None]
            after = page["next_after"]
        except (URLError, OSError, ValueError, KeyError, TypeError) as error:
            raise PartlyDone(
                f"nothing is proven: no ledger can be read at {base_url} ({type(error).__name__}); check "
                "--ledger, and that `unbinding sandbox` runs there"
            ) from error
    return calls


def _call(found: dict[str, Any]) -> Call:
    return Call(
        number=found["number"],
        step=found["api"],
        client_id=found["client_id"],
        fingerprint=found["fingerprint"],
        received_at=found["received_at"],
        ended=found["ended"],
        ended_at=found["ended_at"],
    )
