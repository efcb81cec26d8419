"""Checks of a counterpart's paths: none lacks, none is for nothing, each goes out as it is written."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from contracts.states import Step
from worker.settings.counterparts import Counterpart
from worker.settings.findings import Finding, error
from worker.settings.readers import WirePath
from worker.settings.sources import shown

QUERY: Final = "query"
"""The key in `paths` of queryByAuthInfo; the others are names of steps."""
MERCHANT_TAG: Final = "{merchantTag}"

_SOME_TAG: Final = "merchant-1"
_KNOWN: Final = (*(step.value for step in Step), QUERY)


def paths(
    counterpart: Counterpart, section: str, *, steps: tuple[Step, ...], wire_path: WirePath
) -> Iterator[Finding]:
    """Tell what is wrong with the paths of a counterpart; `steps` are those that call it."""
    leaf = f"{section}.paths"
    needed = [step.value for step in steps]
    if Step.CANCEL_AGREEMENT in steps:
        needed.append(QUERY)
    for key in needed:
        if key not in counterpart.paths:
            yield error(leaf, f"has no path for {key}", f'add it: {key} = "/…"')
    for key, path in counterpart.paths.items():
        if key not in _KNOWN:
            near = get_close_matches(key, _KNOWN, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(_KNOWN)}"
            yield error(leaf, f"has a path for {shown(key)}, which is no step", remedy)
        plain = path.replace(MERCHANT_TAG, _SOME_TAG) if key == Step.NOTIFY_MERCHANT else path
        if "{" in plain or "}" in plain:
            what = f"has braces in the path of {shown(key)} that stand for nothing"
            remedy = f"only the path of {Step.NOTIFY_MERCHANT} may hold {MERCHANT_TAG}"
            yield error(leaf, what, remedy)
            continue
        try:
            wire_path(counterpart.base_url, plain)
        except ValueError as refusal:
            what = f"has a path of {shown(key)} that would not be sent as it is signed: {refusal}"
            yield error(leaf, what, "write it as it goes over the wire")
