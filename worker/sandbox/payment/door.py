"""One call from its first byte to its end: examine, decide, write down, answer.

The ledger has the call, and with it the revocation, before any byte of the answer leaves.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from worker.sandbox.payment.apis import APIS
from worker.sandbox.payment.apis.api import Api, Words, result_words
from worker.sandbox.payment.behaviour import WORDLESS, Behaviour, Saying
from worker.sandbox.payment.behaviour_text import parse_behaviour
from worker.sandbox.payment.config import SandboxConfig
from worker.sandbox.payment.errors import TokenWordError
from worker.sandbox.payment.examination import VERIFIED, Accepted, Arrived, Refused, examine
from worker.sandbox.payment.keys import KEY_VERSION, HubKeys
from worker.sandbox.payment.leaving import leave
from worker.sandbox.payment.ledger import CallTaken, Ending, Ledger, TokenHistory, fingerprint
from worker.sandbox.payment.rules import Choice, Rules
from worker.sandbox.payment.sealing_answers import answer_headers
from worker.signing import PublicKeys

TOKEN_WORD_RULE: Final = "wrong token word"  # noqa: S105 - the name of a rule

_PLAIN: Final = parse_behaviour("allow")
_ILLEGAL: Final = parse_behaviour("F PARAM_ILLEGAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done with a call."""

    behaviour: Behaviour
    words: Words
    rule: str | None
    effect: bool = False


def wall_clock() -> int:
    """Return now in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class Door:
    """Serves the payment side's APIs on one event loop."""

    def __init__(
        self, config: SandboxConfig, *, keys: HubKeys, ledger: Ledger, now: Callable[[], int] = wall_clock
    ) -> None:
        self.rules: Rules = config.rules
        self.ledger = ledger
        self.closing = asyncio.Event()
        self._config = config
        self._keys = keys
        self._now = now
        self._apis = {config.path(api.step): api for api in APIS}
        self._clients = PublicKeys({client: {KEY_VERSION: keys.client} for client in config.clients})

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one call to its end."""
        arrived = await self._arrival(request)
        examined = examine(
            arrived, apis=self._apis, clients=self._clients, allowed_skew_ms=self._config.allowed_skew_ms
        )
        if isinstance(examined, Accepted):
            name = fingerprint(examined.token)
            plan = self._plan(examined, self.ledger.history(name))
        else:
            name = None
            plan = _refusal(examined)
        number = self.ledger.next_number()
        self._write_down(arrived, examined, plan, number=number, name=name)
        return await self._answer(request, arrived, plan, number=number)

    async def _arrival(self, request: web.BaseRequest) -> Arrived:
        received_at = self._now()
        body: bytes | None
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            body = None
        return Arrived(
            method=request.method,
            target=request.raw_path,
            headers=request.raw_headers,
            body=body,
            received_at=received_at,
        )

    def _plan(self, accepted: Accepted, history: TokenHistory) -> Plan:
        api = accepted.api
        try:
            choice = self.rules.choose(
                step=api.step,
                token=accepted.token,
                nth=history.calls[api.step],
                taken=history.taken,
                knows=api.sayings.keys(),
            )
        except TokenWordError as error:
            words = result_words("F", "PARAM_ILLEGAL", f"accessToken: {error}")
            return Plan(behaviour=_ILLEGAL, words=words, rule=TOKEN_WORD_RULE)
        choice = self._of_dead_token(choice, api, history)
        behaviour = choice.behaviour
        return Plan(
            behaviour=behaviour,
            words=api.speak(behaviour, self._config.parties),
            rule=choice.rule,
            effect=api.revokes and behaviour.has_effect and history.is_live,
        )

    def _of_dead_token(self, choice: Choice, api: Api, history: TokenHistory) -> Choice:
        """Exchange a permission for a dead token for what the rules say of it; faults of the wire stay."""
        behaviour = choice.behaviour
        dead = self.rules.revoked_consult
        if (
            api.revokes
            or history.is_live
            or behaviour.saying is not Saying.ALLOW
            or dead.saying not in api.sayings
        ):
            return choice
        return Choice(rule=choice.rule, behaviour=_saying(dead, left_as=behaviour))

    def _write_down(
        self, arrived: Arrived, examined: Accepted | Refused, plan: Plan, *, number: int, name: str | None
    ) -> None:
        api = examined.api
        answers = plan.behaviour.leaving not in WORDLESS
        self.ledger.take(
            CallTaken(
                number=number,
                received_at=arrived.received_at,
                method=arrived.method,
                path=arrived.target.partition("?")[0],
                api=None if api is None else api.step,
                client_id=arrived.header(b"client-id"),
                fingerprint=name,
                idempotency_key=name if api is not None and api.revokes else None,
                verification=VERIFIED if isinstance(examined, Accepted) else examined.code,
                rule=plan.rule,
                behaviour=plan.behaviour.text if plan.rule is not None else None,
                says_status=plan.words.status if answers else None,
                says_code=plan.words.code if answers else None,
                http_status=plan.behaviour.http_status if answers else None,
                effect=plan.effect,
                overlaps=() if name is None else self.ledger.in_flight(name),
            )
        )

    async def _answer(
        self, request: web.BaseRequest, arrived: Arrived, plan: Plan, *, number: int
    ) -> web.StreamResponse:
        behaviour = plan.behaviour
        try:
            if behaviour.slow_ms:
                await asyncio.sleep(behaviour.slow_ms / 1000)
            headers = {}
            if behaviour.leaving not in WORDLESS:
                headers = answer_headers(
                    behaviour,
                    body=plan.words.body,
                    method=arrived.method,
                    target=arrived.target,
                    client_id=arrived.header(b"client-id"),
                    keys=self._keys,
                    now_at=self._now(),
                )
            response, ending = await leave(
                request, behaviour, body=plan.words.body, headers=headers, closing=self.closing
            )
        except ConnectionError:
            response, ending = web.Response(), Ending.CLIENT_LEFT
        except asyncio.CancelledError:
            ending = Ending.SANDBOX_STOPPED if self.closing.is_set() else Ending.CLIENT_LEFT
            self.ledger.end(number, ending, now_at=self._now())
            raise
        self.ledger.end(number, ending, now_at=self._now())
        return response


def _refusal(refused: Refused) -> Plan:
    return Plan(behaviour=_PLAIN, words=result_words("F", refused.code, refused.message), rule=None)


def _saying(said: Behaviour, *, left_as: Behaviour) -> Behaviour:
    return Behaviour(
        text=f"{left_as.text} (dead token: {said.text})",
        saying=said.saying,
        status=said.status,
        code=said.code,
        reason=said.reason,
        seal=left_as.seal,
        leaving=left_as.leaving,
        trickle_ms=left_as.trickle_ms,
        http_status=left_as.http_status,
        retry_after=left_as.retry_after,
        clock_off_s=left_as.clock_off_s,
        slow_ms=left_as.slow_ms,
    )
