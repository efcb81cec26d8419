"""A checker for the part of JSON Schema that the generated schemas use; an unknown keyword is an error."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "null": type(None),
    "boolean": bool,
}


def fits(schema: Schema, value: Any, *, root: Schema | None = None) -> bool:
    """Say whether the value keeps to the schema."""
    whole = schema if root is None else root
    return all(_KEYWORDS[word](rule, value, schema, whole) for word, rule in schema.items())


def _is_type(rule: str, value: Any, _schema: Schema, _root: Schema) -> bool:
    if rule == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _TYPES[rule])


def _ref(rule: str, value: Any, _schema: Schema, root: Schema) -> bool:
    return fits(root["$defs"][rule.removeprefix("#/$defs/")], value, root=root)


def _condition(rule: Schema, value: Any, schema: Schema, root: Schema) -> bool:
    branch = "then" if fits(rule, value, root=root) else "else"
    return fits(schema.get(branch, {}), value, root=root)


def _properties(rule: Schema, value: Any, _schema: Schema, root: Schema) -> bool:
    return not isinstance(value, dict) or all(
        fits(inner, value[name], root=root) for name, inner in rule.items() if name in value
    )


def _limit(kind: type, judge: Callable[[Any, Any], bool]) -> Callable[[Any, Any, Schema, Schema], bool]:
    return lambda rule, value, _schema, _root: not isinstance(value, kind) or judge(rule, value)


def _ignored(*_: Any) -> bool:
    return True


_KEYWORDS: dict[str, Callable[[Any, Any, Schema, Schema], bool]] = {
    "type": _is_type,
    "$ref": _ref,
    "if": _condition,
    "properties": _properties,
    "const": lambda rule, value, _schema, _root: bool(value == rule),
    "enum": lambda rule, value, _schema, _root: value in rule,
    "anyOf": lambda rule, value, _schema, root: any(fits(one, value, root=root) for one in rule),
    "allOf": lambda rule, value, _schema, root: all(fits(one, value, root=root) for one in rule),
    "not": lambda rule, value, _schema, root: not fits(rule, value, root=root),
    "items": lambda rule, value, _schema, root: (
        not isinstance(value, list) or all(fits(rule, one, root=root) for one in value)
    ),
    "required": _limit(dict, lambda rule, value: all(name in value for name in rule)),
    "minItems": _limit(list, lambda rule, value: len(value) >= rule),
    "maxItems": _limit(list, lambda rule, value: len(value) <= rule),
    "minLength": _limit(str, lambda rule, value: len(value) >= rule),
    "maxLength": _limit(str, lambda rule, value: len(value) <= rule),
    "pattern": _limit(str, lambda rule, value: re.search(rule, value) is not None),
    "minimum": _limit(int, lambda rule, value: value >= rule),
    **dict.fromkeys(
        ("$schema", "$id", "$defs", "title", "description", "default", "format", "then", "else"), _ignored
    ),
}
