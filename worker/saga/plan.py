"""Which steps a request gets: the profile's, for the targets that it names.

PlanInvalid    the request lacks a field that its steps need, or names a target that no step can end
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from contracts.requests import ActivatedVia, Initiator
from contracts.states import Step
from worker.saga.model import TargetKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contracts.requests import UnbindingRequested


class PlanInvalid(Exception):
    """This worker's profile cannot serve the request; the text names fields, never values."""


class ProfileName(StrEnum):
    """Who runs the worker, and so which steps it may take."""

    PLATFORM = "platform"
    """One operator for the wallet's and the merchant's side."""
    WALLET = "wallet"
    """A wallet at Alipay+ (MPP)."""
    ACQUIRER = "acquirer"
    """An acquirer at Alipay+ (ACQP); authNotify is evidence."""
    ALIPAYHK_MERCHANT = "alipayhk_merchant"
    """A biller at AlipayHK; notify.cancel is evidence."""
    ALIPAYHK_WALLET = "alipayhk_wallet"
    """The wallet towards its billers; notify.cancel is evidence."""
    ANTOM_MERCHANT = "antom_merchant"
    """A merchant at Antom; notifyAuthorization is evidence."""


class Edition(StrEnum):
    """Which edition of cancelToken a worker speaks."""

    WALLET = "wallet"
    """Alipay+ cancelToken, wallet edition: pspId, acquirerId, accessToken."""
    ACQUIRER = "acquirer"
    """Alipay+ cancelToken, acquirer edition: accessToken, authClientId."""
    ANTOM = "antom"
    """Antom revoke: accessToken."""


PROFILE_STEPS: Mapping[ProfileName, tuple[Step, ...]] = MappingProxyType(
    {
        ProfileName.PLATFORM: (
            Step.CONSULT,
            Step.CANCEL_TOKEN,
            Step.CANCEL_AGREEMENT,
            Step.NOTIFY_MERCHANT,
            Step.OFFER,
        ),
        ProfileName.WALLET: (Step.CONSULT, Step.CANCEL_TOKEN, Step.NOTIFY_HUB),
        ProfileName.ACQUIRER: (Step.CANCEL_TOKEN,),
        ProfileName.ALIPAYHK_MERCHANT: (Step.CANCEL_AGREEMENT,),
        ProfileName.ALIPAYHK_WALLET: (Step.NOTIFY_MERCHANT,),
        ProfileName.ANTOM_MERCHANT: (Step.CANCEL_TOKEN, Step.OFFER),
    }
)
"""The steps of each profile, in the order in which a saga takes them."""

EDITIONS: Mapping[ProfileName, Edition] = MappingProxyType(
    {
        ProfileName.PLATFORM: Edition.WALLET,
        ProfileName.WALLET: Edition.WALLET,
        ProfileName.ACQUIRER: Edition.ACQUIRER,
        ProfileName.ALIPAYHK_MERCHANT: Edition.WALLET,
        ProfileName.ALIPAYHK_WALLET: Edition.WALLET,
        ProfileName.ANTOM_MERCHANT: Edition.ANTOM,
    }
)
"""The default edition of cancelToken; a counterpart's settings may name another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What this worker can do: the configured steps in order, and how it consults."""

    steps: tuple[Step, ...]
    edition: Edition = Edition.WALLET
    consult: bool = True
    """``False``: never ask, as some wallets unbind without consulting."""
    unconsulted_psps: frozenset[str] = frozenset()
    """Wallets (``pspId``) that are not consulted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of one saga, and the targets that they end."""

    steps: tuple[Step, ...]
    targets: tuple[TargetKind, ...]


REBINDING = Plan((Step.OFFER,), ())


def plan_unbinding(request: UnbindingRequested, profile: Profile) -> Plan:
    """Return the steps for a request; raises PlanInvalid."""
    steps: list[Step] = []
    targets: list[TargetKind] = []
    if request.access_token is not None:
        steps += _token_steps(request, profile)
        targets.append(TargetKind.TOKEN)
    if request.agreement is not None and _ends_agreement(request):
        _demand(Step.CANCEL_AGREEMENT, "agreement", profile)
        steps.append(Step.CANCEL_AGREEMENT)
        targets.append(TargetKind.AGREEMENT)
    if request.merchant_account is not None:
        _demand(Step.NOTIFY_MERCHANT, "merchantAccount", profile)
        steps.append(Step.NOTIFY_MERCHANT)
        targets.append(TargetKind.ACCOUNT)
    if not targets:
        raise PlanInvalid(
            "agreement: with initiator wallet only one activated via bills_and_utilities is ended; "
            "nothing else is named"
        )
    return Plan(tuple(step for step in Step if step in steps), tuple(targets))


def plan_rebinding(profile: Profile) -> Plan:
    """Return the steps of a rebinding; raises PlanInvalid."""
    if Step.OFFER not in profile.steps:
        raise PlanInvalid("rebinding: this worker's profile has no step offer, or no counterpart for it")
    return REBINDING


def _ends_agreement(request: UnbindingRequested) -> bool:
    """Tell whether the agreement is a target (AlipayHK, Account unbinding: bills & utilities only)."""
    return request.agreement is not None and (
        request.initiator is Initiator.MERCHANT
        or request.agreement.activated_via is ActivatedVia.BILLS_AND_UTILITIES
    )


def _token_steps(request: UnbindingRequested, profile: Profile) -> list[Step]:
    _demand(Step.CANCEL_TOKEN, "accessToken", profile)
    consults = _consults(request, profile)
    if profile.edition is Edition.WALLET and not consults:
        missing = [
            name
            for name, value in (("pspId", request.psp_id), ("acquirerId", request.acquirer_id))
            if value is None
        ]
        if missing:
            raise PlanInvalid(f"{' and '.join(missing)} required: nothing is consulted for this request")
    steps = [Step.CONSULT] if consults else []
    steps.append(Step.CANCEL_TOKEN)
    if Step.NOTIFY_HUB in profile.steps:
        steps.append(Step.NOTIFY_HUB)
    return steps


def _consults(request: UnbindingRequested, profile: Profile) -> bool:
    if Step.CONSULT not in profile.steps or not profile.consult:
        return False
    if request.psp_id is not None and request.psp_id in profile.unconsulted_psps:
        return False
    named = request.psp_id is not None and request.acquirer_id is not None
    return not (request.initiator is Initiator.MERCHANT and named)


def _demand(step: Step, field: str, profile: Profile) -> None:
    if step not in profile.steps:
        raise PlanInvalid(f"{field}: no step of this worker's profile can end it ({step} is not configured)")
