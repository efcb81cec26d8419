"""Start, stop, keys, certificates, worker settings, and the sandbox's own endpoints."""

import asyncio
import json
import signal
import ssl
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from contracts.states import Step
from tests.sandbox_payment.plain_client import (
    BOUND_S,
    CANCEL,
    CONSULT,
    Heard,
    cancel,
    cancel_body,
    connected,
    consult,
    exchange,
    request_bytes,
    signed_headers,
    until,
)
from worker.sandbox.payment import (
    Ending,
    KeysError,
    Sandbox,
    SandboxConfig,
    SandboxError,
    fingerprint,
    make_keys,
    make_tls,
    parse_rules,
    sandbox,
)

pytestmark = pytest.mark.wire

TOKEN = "tok_1"
ROOT = Path(__file__).resolve().parents[2]

_SERVE = """
import sys
from pathlib import Path
from worker.sandbox.payment import SandboxConfig, run_sandbox

config = SandboxConfig(directory=Path(sys.argv[1]))
run_sandbox(config, announce=lambda box: print(box.base_url, flush=True))
"""


async def admin(
    box: Sandbox, method: str, path: str, body: Any = None, *, media_type: str = "application/json"
) -> Heard:
    """Call one of the sandbox's own endpoints."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return await exchange(box, target=path, body=raw, headers={"Content-Type": media_type}, method=method)


def test_keys_are_private_and_stay(tmp_path: Path) -> None:
    """All files are readable by their owner only; a second start takes them up; a lost half is made anew."""
    files = make_keys(tmp_path / "keys")
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()} == {0o600}
    before = files.hub_key.read_bytes()
    make_keys(tmp_path / "keys")
    assert files.hub_key.read_bytes() == before
    files.hub_public.unlink()
    make_keys(tmp_path / "keys")
    assert files.hub_key.read_bytes() != before


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the directory should be is an error that names it."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(KeysError, match="keys"):
        make_keys(tmp_path / "keys")


def test_openssl_accepts_the_certificate(tmp_path: Path) -> None:
    """OpenSSL verifies the server certificate against the authority, by strict rules, for each host."""
    files = make_tls(tmp_path, hosts=["127.0.0.1", "sandbox"])
    assert files.ca is not None
    for check in (["-verify_ip", "127.0.0.1"], ["-verify_hostname", "sandbox"]):
        command = [
            "openssl",
            "verify",
            "-x509_strict",
            *check,
            "-CAfile",
            str(files.ca),
            str(files.certificate),
        ]
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - own words and paths
        assert done.returncode == 0, done.stderr


def test_certificates_stay_until_they_no_longer_serve(tmp_path: Path) -> None:
    """A second start keeps the certificate; another host, or a broken file, makes a new one."""
    files = make_tls(tmp_path, hosts=["127.0.0.1", "localhost"])
    first = files.certificate.read_bytes()
    make_tls(tmp_path, hosts=["localhost"])
    assert files.certificate.read_bytes() == first
    make_tls(tmp_path, hosts=["localhost", "sandbox"])
    second = files.certificate.read_bytes()
    assert second != first
    files.certificate.write_text("broken")
    make_tls(tmp_path, hosts=["localhost"])
    assert files.certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE")


async def test_a_client_without_the_authority_refuses_the_certificate(box: Sandbox) -> None:
    """The certificate is trusted by nobody who was not given the authority."""
    assert box.tls_base_url is not None
    port = int(box.tls_base_url.rpartition(":")[2])
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())


async def test_a_given_certificate_is_used(key_directory: Path, tmp_path: Path) -> None:
    """Certificate and key can come from elsewhere; only one of them is an error."""
    given = make_tls(tmp_path, hosts=["127.0.0.1"])
    config = SandboxConfig(
        directory=key_directory, tls_port=0, tls_certificate=given.certificate, tls_key=given.key
    )
    async with sandbox(config) as box:
        assert box.tls is not None
        assert box.tls.ca is None
        assert "ca_file" not in box.settings_toml()
        port = int((box.tls_base_url or "").rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(given.ca))
        _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.close()
        await writer.wait_closed()
    with pytest.raises(KeysError, match="only one"):
        async with sandbox(SandboxConfig(directory=key_directory, tls_port=0, tls_key=given.key)):
            pass


async def test_the_worker_settings_fit(box: Sandbox) -> None:
    """The TOML text names both counterparts, with paths, files that exist, and ids that the sandbox knows."""
    settings = tomllib.loads(box.settings_toml())["counterparts"]
    assert box.tls is not None
    authority = box.tls.ca
    assert settings.keys() == {"hub", "tokens"}
    assert settings["hub"]["paths"] == {"consult": CONSULT}
    assert settings["tokens"]["paths"] == {"cancel_token": CANCEL}
    for counterpart in settings.values():
        assert counterpart["base_url"] == box.tls_base_url
        assert Path(counterpart["private_key_file"]) == box.keys.client_key
        assert counterpart["public_key_files"] == {"1": str(box.keys.hub_public)}
        assert counterpart["ca_file"] == str(authority)
        body = cancel_body(counterpart["client_id"])
        headers = signed_headers(box, target=CANCEL, body=body, client=counterpart["client_id"])
        assert (await exchange(box, target=CANCEL, body=body, headers=headers)).result == ("S", "SUCCESS")


async def test_a_taken_port_is_named(box: Sandbox, key_directory: Path) -> None:
    """A port that somebody has is an error that says which."""
    port = int(box.base_url.rpartition(":")[2])
    with pytest.raises(SandboxError, match=str(port)):
        async with sandbox(SandboxConfig(directory=key_directory, port=port)):
            pass


async def test_a_call_that_hangs_is_let_go_at_the_end(key_directory: Path) -> None:
    """The sandbox ends in time though a call hangs, and the ledger says who ended it."""
    rules = parse_rules({"rules": [{"do": "hang"}]})
    async with sandbox(SandboxConfig(directory=key_directory, rules=rules)) as box:
        body = cancel_body(TOKEN)
        headers = signed_headers(box, target=CANCEL, body=body)
        async with asyncio.timeout(BOUND_S):
            connection = connected(box)
            _reader, writer = await connection.__aenter__()
            writer.write(request_bytes(target=CANCEL, body=body, headers=headers))
            await until(lambda: len(box.ledger) == 1)
    await connection.__aexit__(None, None, None)
    end = box.ledger.ended(1)
    assert end is not None
    assert end.ended is Ending.SANDBOX_STOPPED


async def test_other_paths_can_be_configured(key_directory: Path) -> None:
    """The path of an API is configuration: the wallet hosts cancelToken where it likes."""
    path = "/hook/cancelToken"
    config = SandboxConfig(directory=key_directory, paths={Step.CANCEL_TOKEN: path})
    async with sandbox(config) as box:
        body = cancel_body(TOKEN)
        headers = signed_headers(box, target=path, body=body)
        assert (await exchange(box, target=path, body=body, headers=headers)).result == ("S", "SUCCESS")
        assert (await cancel(box, TOKEN)).result == ("F", "NO_INTERFACE_DEF")
        assert path in box.settings_toml()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_sandbox_in_good_order(key_directory: Path, number: signal.Signals) -> None:
    """run_sandbox announces, serves, and ends with 0 on SIGTERM and SIGINT."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(key_directory), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    async with asyncio.timeout(BOUND_S):
        assert (await process.stdout.readline()).startswith(b"http://127.0.0.1:")
        process.send_signal(number)
        assert await process.wait() == 0


async def test_health_counts_the_calls(box: Sandbox) -> None:
    """GET /sandbox/health says ok and how many calls came."""
    await cancel(box, TOKEN)
    assert (await admin(box, "GET", "/sandbox/health")).json == {"status": "ok", "calls": 1}


async def test_rules_can_be_put_and_read(box: Sandbox) -> None:
    """PUT /sandbox/rules takes JSON or TOML whole and decides the next call; GET shows it."""
    put = await admin(box, "PUT", "/sandbox/rules", {"rules": [{"do": "U", "api": "consult"}]})
    assert put.status == 200
    assert (await consult(box, TOKEN)).result[0] == "U"
    toml = b'default = "F"\n'
    await admin(box, "PUT", "/sandbox/rules", toml, media_type="application/toml")
    shown = (await admin(box, "GET", "/sandbox/rules")).json
    assert (shown["default"], shown["rules"]) == ("F", [])
    assert (await consult(box, TOKEN)).result == ("F", "PROCESS_FAIL")


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"rules": [{"do": "explode"}]}, 422, "rules.1: do: 'explode'"),
        (b"{", 400, "cannot be read"),
        (b"[]", 422, "dictionary"),
    ],
)
async def test_wrong_rules_change_nothing(box: Sandbox, body: Any, status: int, problem: str) -> None:
    """Rules that cannot be read are refused with every problem, and the old ones stay."""
    heard = await admin(box, "PUT", "/sandbox/rules", body)
    assert heard.status == status
    assert problem in heard.json["problems"][0]
    assert (await consult(box, TOKEN)).result == ("S", "SUCCESS")


async def test_the_ledger_can_be_paged_and_filtered(box: Sandbox) -> None:
    """GET /sandbox/ledger pages by number and filters by token or fingerprint."""
    for token in ("a", "b", "a"):
        await cancel(box, token)
    first = (await admin(box, "GET", "/sandbox/ledger?limit=2")).json
    assert ([call["number"] for call in first["calls"]], first["next_after"]) == ([1, 2], 2)
    rest = (await admin(box, "GET", "/sandbox/ledger?limit=2&after=2")).json
    assert ([call["number"] for call in rest["calls"]], rest["next_after"]) == ([3], None)
    for query in ("token=a", f"fingerprint={fingerprint('a')}"):
        found = (await admin(box, "GET", f"/sandbox/ledger?{query}")).json["calls"]
        assert [(call["number"], call["effect"]) for call in found] == [(1, True), (3, False)]


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=x"])
async def test_a_wrong_page_is_refused(box: Sandbox, query: str) -> None:
    """Limits out of range and words for numbers are 400, with what is wrong."""
    heard = await admin(box, "GET", f"/sandbox/ledger?{query}")
    assert heard.status == 400
    assert heard.json["problems"]


async def test_a_token_can_be_looked_up(box: Sandbox) -> None:
    """GET /sandbox/tokens/{token} tells state, moment, calls; any characters may be in the token."""
    token = "tok/ü 1%"
    assert (await admin(box, "GET", "/sandbox/tokens/unseen")).json["state"] == "live"
    await cancel(box, token)
    await consult(box, token)
    shown = (await admin(box, "GET", "/sandbox/tokens/tok%2F%C3%BC%201%25")).json
    assert (shown["state"], shown["revoked_by"], shown["asked_after_revoke"]) == ("revoked", 1, 1)
    assert shown["calls"] == {"cancel_token": 1, "consult": 1}
    assert shown["revoked_at"] == box.ledger.calls()[0].received_at


async def test_reset_makes_all_tokens_live_and_keeps_the_rules(box: Sandbox) -> None:
    """POST /sandbox/reset forgets calls and tokens only."""
    box.rules = parse_rules({"seed": 5})
    await cancel(box, TOKEN)
    assert (await admin(box, "POST", "/sandbox/reset")).status == 200
    assert len(box.ledger) == 0
    assert (await consult(box, TOKEN)).json["allowUnbinding"] == "true"
    assert (await admin(box, "GET", "/sandbox/rules")).json["seed"] == 5


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/sandbox/"), ("GET", "/sandbox/reset"), ("DELETE", "/sandbox/rules")]
)
async def test_other_endpoints_do_not_exist(box: Sandbox, method: str, path: str) -> None:
    """An unknown endpoint is 404 with the known ones, and no call in the ledger."""
    assert (await admin(box, method, path)).status == 404
    assert len(box.ledger) == 0
