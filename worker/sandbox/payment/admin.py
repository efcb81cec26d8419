"""The sandbox's own endpoints below ``/sandbox/``: rules, ledger, tokens, reset, health.

GET  /sandbox/health
GET  /sandbox/rules
PUT  /sandbox/rules                 JSON, or TOML with Content-Type application/toml
GET  /sandbox/ledger                ?token=… or ?fingerprint=…, ?after=NUMBER, ?limit=1…1000
GET  /sandbox/tokens/{token}
POST /sandbox/reset                 forgets calls and tokens; rules stay
"""

import tomllib
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import web

from worker.sandbox.payment.door import Door
from worker.sandbox.payment.errors import RulesError
from worker.sandbox.payment.ledger import fingerprint
from worker.sandbox.payment.rules import parse_rules

PREFIX: Final = "/sandbox/"

_TOKENS: Final = "/sandbox/tokens/"
_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000


async def administer(request: web.BaseRequest, door: Door) -> web.StreamResponse:
    """Answer one request to an endpoint of the sandbox's own."""
    path = request.raw_path.partition("?")[0]
    match request.method, path:
        case "GET", "/sandbox/health":
            return _json({"status": "ok", "calls": len(door.ledger)})
        case "GET", "/sandbox/rules":
            return _json(door.rules.document.model_dump())
        case "PUT", "/sandbox/rules":
            return await _put_rules(request, door)
        case "GET", "/sandbox/ledger":
            return _ledger(request, door)
        case "POST", "/sandbox/reset":
            door.ledger.reset()
            return _json({"status": "ok"})
        case "GET", _ if path.startswith(_TOKENS):
            return _json(door.ledger.token(unquote(path.removeprefix(_TOKENS))).as_json())
        case _:
            return _json(
                {
                    "problems": [
                        f"no endpoint {request.method} {path}: there are health, rules, ledger, tokens, reset"
                    ]
                },
                status=404,
            )


async def _put_rules(request: web.BaseRequest, door: Door) -> web.StreamResponse:
    raw = await request.read()
    try:
        if request.content_type == "application/toml":
            data = tomllib.loads(raw.decode())
        else:
            data = orjson.loads(raw)
    except ValueError as error:
        return _json(
            {"problems": [f"the body cannot be read: {error}; send JSON, or TOML as application/toml"]},
            status=400,
        )
    try:
        rules = parse_rules(data, source="PUT /sandbox/rules")
    except RulesError as error:
        return _json({"problems": list(error.problems)}, status=422)
    door.rules = rules
    return _json(rules.document.model_dump())


def _ledger(request: web.BaseRequest, door: Door) -> web.StreamResponse:
    query = request.query
    token, named = query.get("token"), query.get("fingerprint")
    try:
        after, limit = int(query.get("after", "0")), int(query.get("limit", str(_PAGE)))
    except ValueError:
        return _json({"problems": ["'after' and 'limit' must be whole numbers"]}, status=400)
    if not 1 <= limit <= _LARGEST_PAGE:
        return _json({"problems": [f"'limit' must be from 1 to {_LARGEST_PAGE}"]}, status=400)
    calls = door.ledger.page(
        after=after, limit=limit, fingerprint=named if token is None else fingerprint(token)
    )
    return _json({"calls": calls, "next_after": calls[-1]["number"] if len(calls) == limit else None})


def _json(data: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(data), content_type="application/json")
