"""The tree of settings as a list: each section and leaf by its public name, read off the model itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from worker.settings.tree import Settings
from worker.settings.units import Duration, Size, format_duration, format_size

ENV_PREFIX: Final = "UNBINDING_"
ENV_DELIMITER: Final = "__"
CONFIG_VARIABLE: Final = "UNBINDING_CONFIG"
"""Names the TOML file; a word of its own, not a leaf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One setting: its public name, where the model keeps it, and what is said of it."""

    name: str
    """Dotted, such as `patience.consult.give_up_after`."""
    attributes: tuple[str, ...]
    """Where to find it in `Settings`, such as `("patience", "consult", "give_up_after_ms")`."""
    sentence: str
    """What it is for."""
    required: bool
    """Whether its section cannot do without it."""
    default: object
    """As the model has it; `None` where there is none."""
    example: object
    """Stands in the example file where there is no default."""
    structured: bool
    """Whether it may be a list or a map, written as JSON in the environment."""
    secret: bool
    """Whether its value must never be shown."""
    unit: type[Duration] | type[Size] | None
    """How its numbers are written outside."""

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return variable_of(self.name)

    def plain(self, value: object) -> object:
        """Return a value as it is written outside: text, numbers, lists and maps of them; no secret."""
        match value:
            case SecretStr():
                raise ValueError(f"{self.name} is a secret and is not shown")
            case list() | tuple():
                return [self.plain(item) for item in value]
            case Mapping():
                return {str(key): self.plain(item) for key, item in value.items()}
            case Path():
                return str(value)
            case int() if self.unit is Duration:
                return format_duration(value)
            case int() if self.unit is Size:
                return format_size(value)
            case str():
                return str(value)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One section: its public name, its sentence, and whether it may be left out as a whole."""

    name: str
    sentence: str
    optional: bool


def variable_of(name: str) -> str:
    """Return the environment variable of a dotted name."""
    return ENV_PREFIX + name.replace(".", ENV_DELIMITER).upper()


@cache
def leaves() -> Mapping[str, Leaf]:
    """Return all leaves by name, in the order of the documents."""
    found = {leaf.name: leaf for leaf in _walk(Settings) if isinstance(leaf, Leaf)}
    return MappingProxyType(found)


@cache
def branches() -> Mapping[str, Branch]:
    """Return all sections by name, each before the sections inside it."""
    found = {branch.name: branch for branch in _walk(Settings) if isinstance(branch, Branch)}
    return MappingProxyType(found)


def value_of(settings: Settings, leaf: Leaf) -> object:
    """Return a leaf's value, `None` where its section is left out."""
    value: object = settings
    for attribute in leaf.attributes:
        if value is None:
            return None
        value = getattr(value, attribute)
    return value


def _walk(
    model: type[BaseModel], names: tuple[str, ...] = (), attributes: tuple[str, ...] = ()
) -> Iterator[Leaf | Branch]:
    for attribute, field in model.model_fields.items():
        here = (*names, field.alias or attribute)
        inner = _section(field)
        if inner is None:
            yield _leaf(field, name=".".join(here), attributes=(*attributes, attribute))
        else:
            sentence = field.description or _first_line(inner)
            yield Branch(name=".".join(here), sentence=sentence, optional=field.default is None)
            yield from _walk(inner, here, (*attributes, attribute))


def _section(field: FieldInfo) -> type[BaseModel] | None:
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _leaf(field: FieldInfo, *, name: str, attributes: tuple[str, ...]) -> Leaf:
    annotations = (field.annotation, *get_args(field.annotation))
    return Leaf(
        name=name,
        attributes=attributes,
        sentence=field.description or "",
        required=field.is_required(),
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        example=(field.examples or [None])[0],
        structured=any(get_origin(annotation) in {tuple, Mapping} for annotation in annotations),
        secret=SecretStr in annotations,
        unit=_unit(field),
    )


def _unit(field: FieldInfo) -> type[Duration] | type[Size] | None:
    marks = list(field.metadata)
    for item in get_args(field.annotation):
        marks.extend(getattr(item, "__metadata__", ()))
    for unit in (Duration, Size):
        if any(isinstance(mark, unit) for mark in marks):
            return unit
    return None


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]
