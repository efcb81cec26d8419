"""The payment side's stand-in: verifies and signs for real, misbehaves as told, keeps a ledger of every call.

    async with sandbox(SandboxConfig(directory=Path("var/sandbox"), tls_port=0)) as box:
        box.rules = parse_rules({"rules": [{"prefix": "tok_", "do": "U 2 times then allow"}]})
        ...                                   # call box.base_url or box.tls_base_url
        assert box.ledger.token("tok_1").revoked_at is not None

What it can do with a call: `worker.sandbox.payment.behaviour_text`; which call it does that with:
`worker.sandbox.payment.rules` and, for demo tokens, `worker.sandbox.payment.token_words`; its own endpoints:
`worker.sandbox.payment.admin`. Another API is another module in `worker.sandbox.payment.apis`.
"""

from worker.sandbox.payment.behaviour_text import parse_behaviour, parse_script
from worker.sandbox.payment.config import HUB_CLIENT, TOKENS_CLIENT, SandboxConfig, settings_toml
from worker.sandbox.payment.errors import (
    BehaviourError,
    KeysError,
    LedgerError,
    RulesError,
    SandboxError,
    TokenWordError,
)
from worker.sandbox.payment.keys import KeyFiles, key_files, make_keys
from worker.sandbox.payment.ledger import CallEnded, CallTaken, Ending, Ledger, TokenHistory, fingerprint
from worker.sandbox.payment.rules import Rules, load_rules, parse_rules
from worker.sandbox.payment.running import Sandbox, run_sandbox, sandbox
from worker.sandbox.payment.tls import TlsFiles, make_tls

__all__ = [
    "HUB_CLIENT",
    "TOKENS_CLIENT",
    "BehaviourError",
    "CallEnded",
    "CallTaken",
    "Ending",
    "KeyFiles",
    "KeysError",
    "Ledger",
    "LedgerError",
    "Rules",
    "RulesError",
    "Sandbox",
    "SandboxConfig",
    "SandboxError",
    "TlsFiles",
    "TokenHistory",
    "TokenWordError",
    "fingerprint",
    "key_files",
    "load_rules",
    "make_keys",
    "make_tls",
    "parse_behaviour",
    "parse_rules",
    "parse_script",
    "run_sandbox",
    "sandbox",
    "settings_toml",
]
