"""What the hub raises of its own; what a counterpart does is never an exception but a result.

    HubError
    ├── CounterpartUnusable    the configuration of a counterpart cannot work: say so before the first call
    └── CallImpossible         this call cannot be made: its message lacks a field, or nobody takes the step

What a transport raises (httpx's tree) is mapped once, in ``exchange``; ``worker.ports.NotBegun`` passes
through. Anything else is a fault of this program and is not caught here.
"""

from __future__ import annotations


class HubError(Exception):
    """Something about a call or a counterpart is wrong on our side; the text says what and where."""


class CounterpartUnusable(HubError):
    """A counterpart's URL, path, key or certificate cannot be used."""


class CallImpossible(HubError):
    """The call lacks what its message needs; the request should not have come this far."""
