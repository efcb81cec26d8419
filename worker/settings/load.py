"""Reading the settings: file below environment, all problems told at once."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import ValidationError

from worker.settings.errors import Problem, SettingsError
from worker.settings.outline import CONFIG_VARIABLE, leaves, variable_of
from worker.settings.sources import Given, Reading, Source, how_to, read_environment, read_file, shown
from worker.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each leaf came from."""

    settings: Settings
    config: Path | None
    """The TOML file, if one was read."""
    given: Mapping[str, Given]
    """By leaf; a leaf that is not here has its default."""

    def source(self, name: str) -> Source:
        """Return where a leaf's value came from."""
        return self.given[name].source if name in self.given else Source.DEFAULT


def load(*, environ: Mapping[str, str], config: Path | None = None) -> Loaded:
    """Read the settings from `config` (else the file that `UNBINDING_CONFIG` names, if any) and `environ`.

    The environment wins. Raises `SettingsError` with every problem found; no message has a value in it.
    """
    named = environ.get(CONFIG_VARIABLE)
    path = config if config is not None else Path(named) if named else None
    if named == "" and config is None:
        problem = Problem(
            name=CONFIG_VARIABLE,
            wrong="is set but empty",
            origin="environment",
            remedy="unset it, or give the path of the TOML file",
        )
        raise SettingsError([problem])
    file = read_file(path) if path is not None else Reading(given={}, problems=())
    environment = read_environment(environ)
    given = {**file.given, **environment.given}
    refused = file.refused | environment.refused
    problems = [*file.problems, *environment.problems]
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(_nested({name: given[name].value for name in given}))
    except ValidationError as error:
        problems.extend(
            _problem(detail, given)
            for detail in error.errors(include_url=False)
            if not (detail["type"] == "missing" and _dotted(detail) in refused)
        )
    if problems or settings is None:
        # Raised outside of `except`, so that no cause goes along: it would carry the values.
        raise SettingsError(problems)
    return Loaded(settings=settings, config=path, given=MappingProxyType(given))


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        branch = tree
        for section in sections:
            inner = branch.setdefault(section, {})
            assert isinstance(inner, dict)  # noqa: S101 - leaves and sections have different names
            branch = inner
        branch[last] = value
    return tree


def _problem(detail: ErrorDetails, given: Mapping[str, Given]) -> Problem:
    name = _dotted(detail)
    leaf = leaves()[name]
    if detail["type"] == "missing":
        section = name.rpartition(".")[0]
        begun = next(key for key in given if key.startswith(f"{section}."))
        return Problem(
            name=name,
            wrong=f"is missing; the section {section} needs it",
            origin=f"the section is begun at {given[begun].origin}",
            remedy=f"set it in the file or as {variable_of(name)}. {how_to(leaf)}",
        )
    inside = "".join(_inside(detail, name))
    return Problem(
        name=f"{name}{inside}",
        wrong=_wrong(detail),
        origin=given[name].origin,
        remedy=how_to(leaf),
    )


def _dotted(detail: ErrorDetails) -> str:
    """Return the name of the leaf that an error is about: what pydantic appends to it is dropped."""
    parts = [str(part) for part in detail["loc"]]
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in leaves():
            return name
    raise AssertionError(f"no leaf at {'.'.join(parts)}: sections are checked before pydantic sees them")


def _inside(detail: ErrorDetails, name: str) -> Iterator[str]:
    for part in detail["loc"][name.count(".") + 1 :]:
        if isinstance(part, int):
            yield f"[{part}]"
        elif part != "[key]":
            yield f"[{shown(part)}]"


def _wrong(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "enum" | "literal_error":
            words = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
            near = get_close_matches(str(detail["input"]), words, n=1)
            guess = f"; did you mean `{near[0]}`?" if near else ""
            return f"is none of {', '.join(words)}{guess}"
    message = detail["msg"]
    return f"is wrong: {message[0].lower()}{message[1:]}"
