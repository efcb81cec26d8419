"""A changed copy of a saga, for less than half of what ``dataclasses.replace`` costs."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from worker.saga.model import Saga

__all__ = ["evolve"]

if TYPE_CHECKING:
    # For mypy it is ``dataclasses.replace``: that one's arguments are checked field by field.
    from dataclasses import replace as evolve
else:
    _PUT = {field.name: getattr(Saga, field.name).__set__ for field in fields(Saga)}
    _COPY = tuple((getattr(Saga, name).__get__, put) for name, put in _PUT.items())

    def evolve(saga: Saga, **changes: object) -> Saga:
        """Return the saga with some fields changed; the one given stays as it is."""
        evolved = object.__new__(Saga)
        for get, put in _COPY:
            put(evolved, get(saga))
        for name, value in changes.items():
            _PUT[name](evolved, value)
        return evolved
