"""The APIs that the sandbox stands in for: one module each, listed here."""

from typing import Final

from worker.sandbox.payment.apis.api import Api
from worker.sandbox.payment.apis.cancel_token import CANCEL_TOKEN
from worker.sandbox.payment.apis.consult_unbinding import CONSULT_UNBINDING

APIS: Final[tuple[Api, ...]] = (CONSULT_UNBINDING, CANCEL_TOKEN)
"""Another API is another module with its table, and a line here."""
