"""P8: no access token stands in clear in what the worker wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.verify.clear_text import Secrets
from worker.verify.violations import broken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.verify.facts import Facts
    from worker.verify.violations import Violation


def secrets_hidden(facts: Facts) -> Iterator[Violation]:
    """Find secrets in clear; the violation names the record, and never the secret."""
    history = facts.history
    if not history.written or not history.secrets:
        return
    secrets = Secrets(history.secrets)
    facts.coverage.check("P8", "tokens", len(history.secrets))
    facts.coverage.check("P8", "records", len(history.written))
    for written in history.written:
        if secrets.within(written.content):
            yield broken("secret.in_clear", (written,), what=f"a secret stands in clear in {written.origin}")
