"""The rules a person sets for the sandbox: read at the wall, frozen inside, asked once per call.

A document (TOML or JSON):

    seed = 7                              # of the chances; same seed, token and call number: same chance
    latency_ms = 200                      # added to every answer
    default = "allow"
    revoked_consult = "F PARAM_ILLEGAL"   # what consult says of a dead token where it would have said "allow"
    token_words = true                    # demo tokens, see worker.sandbox.payment.token_words

    [[rules]]
    name = "every tenth is lost"          # optional
    api = "cancel_token"                  # optional: else every API that knows the behaviour
    prefix = "tok_"                       # or token = "…", or neither
    rate = 0.1                            # optional: fraction of calls
    do = "lost 2 times then allow"        # or a list of behaviours, see worker.sandbox.payment.behaviour_text

The first rule that fits, hits its rate and is not used up decides; then the token's words; then the default.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.states import Step
from worker.sandbox.payment.behaviour import (
    WORDLESS,
    Behaviour,
    Saying,
    Script,
    turn_at,
)
from worker.sandbox.payment.behaviour_text import parse_behaviour, parse_script
from worker.sandbox.payment.errors import BehaviourError, RulesError
from worker.sandbox.payment.token_words import wish

DEFAULT_RULE: Final = "default"
TOKEN_RULE: Final = "token words"  # noqa: S105 - the name of a rule
_LONGEST_MS: Final = 3_600_000
_Text = Annotated[str, Field(min_length=1, max_length=1024)]


class RuleDocument(BaseModel):
    """One rule as written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    api: Literal["consult", "cancel_token"] | None = None
    token: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    prefix: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    do: _Text | Annotated[list[_Text], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.token is not None and self.prefix is not None:
            raise ValueError("has both 'token' and 'prefix': keep one of them")
        _readable("do", lambda: parse_script(self.do))
        return self


class RulesDocument(BaseModel):
    """A rules document as written."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    seed: int = 0
    latency_ms: Annotated[int, Field(ge=0, le=_LONGEST_MS)] = 0
    default: _Text = "allow"
    revoked_consult: _Text = "F PARAM_ILLEGAL"
    token_words: bool = True
    rules: list[RuleDocument] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        _readable("default", lambda: parse_behaviour(self.default))
        _readable("revoked_consult", lambda: _worded(self.revoked_consult))
        names = [name for name, _rule in self.named()]
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise ValueError(
                f"rules: the name {twice[0]!r} stands twice; names count the calls of a rule: make it unique"
            )
        taken = sorted({DEFAULT_RULE, TOKEN_RULE} & set(names))
        if taken:
            raise ValueError(f"rules: the name {taken[0]!r} is the sandbox's own: choose another")
        return self

    def named(self) -> list[tuple[str, RuleDocument]]:
        """Return the rules with their names; one without is called by its place."""
        return [(rule.name or f"rule {place}", rule) for place, rule in enumerate(self.rules, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, ready to be asked."""

    name: str
    place: int
    step: Step | None
    prefix: str
    """Empty: every token (one with an exact token stands in ``Rules.exact``)."""
    rate: float
    script: Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rule decided a call, and what it wants."""

    rule: str
    behaviour: Behaviour


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that the sandbox was told. Make one by ``parse_rules`` or ``load_rules``."""

    document: RulesDocument
    default: Behaviour
    revoked_consult: Behaviour
    exact: Mapping[str, tuple[Rule, ...]] = field(repr=False)
    loose: tuple[Rule, ...] = field(repr=False)

    def choose(
        self,
        *,
        step: Step,
        token: str,
        nth: int,
        taken: Mapping[tuple[Step, str], int],
        knows: Collection[Saying],
    ) -> Choice:
        """Decide one call.

        ``nth`` counts the token's calls of this API from 0, ``taken`` its calls per API and rule; ``knows``
        is what the API can say: a rule that asks for more does not apply to it. Raises TokenWordError.
        """
        rules = self.loose
        if token in self.exact:
            rules = tuple(sorted((*self.exact[token], *rules), key=lambda rule: rule.place))
        for rule in rules:
            if rule.step not in {None, step} or not token.startswith(rule.prefix):
                continue
            behaviour = turn_at(rule.script, taken.get((step, rule.name), 0))
            if behaviour is None or behaviour.saying not in knows:
                continue
            if rule.rate < 1 and self._chance(rule, step=step, token=token, nth=nth) >= rule.rate:
                continue
            return self._choice(rule.name, behaviour)
        return self._unruled(step=step, token=token, taken=taken, knows=knows)

    def _unruled(
        self, *, step: Step, token: str, taken: Mapping[tuple[Step, str], int], knows: Collection[Saying]
    ) -> Choice:
        default = self.default if self.default.saying in knows else ALLOW
        if not self.document.token_words:
            return self._choice(DEFAULT_RULE, default)
        wanted = wish(token, step)
        script = tuple(turn for turn in wanted.script if turn.behaviour.saying in knows)
        behaviour = turn_at(script, taken.get((step, TOKEN_RULE), 0))
        if behaviour is None:
            return self._choice(DEFAULT_RULE, default, slow_ms=wanted.slow_ms)
        return self._choice(TOKEN_RULE, behaviour, slow_ms=wanted.slow_ms)

    def _choice(self, name: str, behaviour: Behaviour, *, slow_ms: int = 0) -> Choice:
        slow_ms += behaviour.slow_ms + self.document.latency_ms
        if slow_ms != behaviour.slow_ms:
            behaviour = replace(behaviour, slow_ms=slow_ms)
        return Choice(rule=name, behaviour=behaviour)

    def _chance(self, rule: Rule, *, step: Step, token: str, nth: int) -> float:
        # By hash, not by a running generator: the order in which different tokens arrive must not matter.
        text = f"{self.document.seed}\n{rule.name}\n{step}\n{nth}\n{token}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64


def parse_rules(data: Mapping[str, Any], *, source: str = "rules") -> Rules:
    """Read a rules document; ``source`` names it in messages. Raises RulesError with every problem."""
    try:
        document = RulesDocument.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise RulesError(
            source, tuple(_sentence(problem["loc"], problem["msg"]) for problem in problems)
        ) from None
    return _rules(document)


def load_rules(path: Path) -> Rules:
    """Read a rules document from a ``.toml`` or ``.json`` file. Raises RulesError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(
            str(path), (f"cannot be read ({error}): check path, permission and encoding",)
        ) from None
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        form = "JSON" if path.suffix == ".json" else "TOML"
        raise RulesError(str(path), (f"is not {form}: {error}",)) from None
    return parse_rules(data, source=str(path))


def _rules(document: RulesDocument) -> Rules:
    exact: dict[str, list[Rule]] = {}
    loose: list[Rule] = []
    for place, (name, written) in enumerate(document.named(), 1):
        rule = Rule(
            name=name,
            place=place,
            step=None if written.api is None else Step(written.api),
            prefix=written.prefix or "",
            rate=written.rate,
            script=parse_script(written.do),
        )
        if written.token is None:
            loose.append(rule)
        else:
            exact.setdefault(written.token, []).append(rule)
    return Rules(
        document=document,
        default=parse_behaviour(document.default),
        revoked_consult=_worded(document.revoked_consult),
        exact={token: tuple(rules) for token, rules in exact.items()},
        loose=tuple(loose),
    )


def _worded(text: str) -> Behaviour:
    behaviour = parse_behaviour(text)
    if behaviour.leaving in WORDLESS:
        raise BehaviourError(f"{text!r} says nothing: give an answer, such as 'F PARAM_ILLEGAL' or 'allow'")
    return behaviour


def _readable(name: str, read: Callable[[], object]) -> None:
    try:
        read()
    except BehaviourError as error:
        raise ValueError(f"{name}: {error}") from None


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    where = ".".join(str(part + 1) if isinstance(part, int) else part for part in place)
    what = message.removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


ALLOW: Final = parse_behaviour("allow")
