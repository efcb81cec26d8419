"""The ledger tells the truth, also after a kill."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox_payment.plain_client import BOUND_S, cancel, consult, until
from worker.sandbox.payment import (
    CallTaken,
    Ending,
    Ledger,
    LedgerError,
    Sandbox,
    SandboxConfig,
    fingerprint,
    parse_rules,
    sandbox,
)

TOKEN = "tok_1"
ROOT = Path(__file__).resolve().parents[2]

_SERVE = """
import sys
from pathlib import Path
from worker.sandbox.payment import SandboxConfig, load_rules, run_sandbox

directory, rules = Path(sys.argv[1]), load_rules(Path(sys.argv[2]))
config = SandboxConfig(directory=directory, ledger_file=directory / "l.jsonl", rules=rules)
run_sandbox(config, announce=lambda box: print(box.base_url, flush=True))
"""


def taken(number: int, *, token: str = TOKEN, api: str = "cancel_token", effect: bool = False) -> CallTaken:
    """Return a call as the door writes it down."""
    return CallTaken(
        number=number,
        received_at=1_000 + number,
        method="POST",
        path="/",
        api=api,
        client_id="c",
        fingerprint=fingerprint(token),
        idempotency_key=fingerprint(token),
        verification="verified",
        rule="default",
        behaviour="allow",
        says_status="S",
        says_code="SUCCESS",
        http_status=200,
        effect=effect,
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["consult", "cancel_token"]), st.booleans()),
        max_size=12,
    )
)
def test_a_ledger_read_back_says_the_same(calls: list[tuple[str, str, bool]]) -> None:
    """The file gives back the same calls and tokens; calls that were open are ended by the stop."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.jsonl"
        first = Ledger.at(path, now_at=0)
        for token, api, ends in calls:
            number = first.next_number()
            first.take(taken(number, token=token, api=api, effect=api == "cancel_token"))
            if ends:
                first.end(number, Ending.ANSWERED, now_at=2_000)
        first.close()
        second = Ledger.at(path, now_at=3_000)
        second.close()
    assert second.calls() == first.calls()
    assert second.next_number() == len(calls) + 1
    for number, (_token, _api, ends) in enumerate(calls, 1):
        end = second.ended(number)
        assert end is not None
        assert end.ended is (Ending.ANSWERED if ends else Ending.SANDBOX_STOPPED)
        assert end.ended_at == (2_000 if ends else 3_000)
    for token in "ab":
        before, after = first.token(token), second.token(token)
        before.in_flight.clear()
        assert after == before
        revokes = [
            number for number, (of, api, _) in enumerate(calls, 1) if (of, api) == (token, "cancel_token")
        ]
        assert after.revoked_by == (revokes[0] if revokes else None)


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    """Half a line at the end of the file is dropped, and writing goes on after the whole ones."""
    path = tmp_path / "ledger.jsonl"
    first = Ledger.at(path, now_at=0)
    first.take(taken(1, effect=True))
    first.close()
    with path.open("ab") as file:
        file.write(b'{"line":"taken","data":{"number":2')
    second = Ledger.at(path, now_at=0)
    second.take(taken(2))
    second.close()
    third = Ledger.at(path, now_at=0)
    third.close()
    assert [call.number for call in third.calls()] == [1, 2]
    assert not third.token(TOKEN).is_live


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"line":"other"}', '{"line":"taken","data":{}}'])
def test_a_foreign_file_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    """A file that is no ledger is not taken up, nor written over."""
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(LedgerError, match="line 1"):
        Ledger.at(path, now_at=0)
    assert path.read_text() == f"{line}\n"


def test_a_ledger_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A path that is a directory is an error that names it."""
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.at(tmp_path, now_at=0)


def test_a_reset_forgets_also_after_a_restart(tmp_path: Path) -> None:
    """After a reset calls and tokens are gone, in the file too; numbers go on; a late end is ignored."""
    path = tmp_path / "ledger.jsonl"
    first = Ledger.at(path, now_at=0)
    first.take(taken(first.next_number(), effect=True))
    first.reset()
    first.end(1, Ending.ANSWERED, now_at=1)
    first.close()
    second = Ledger.at(path, now_at=0)
    second.close()
    assert second.calls() == []
    assert second.token(TOKEN).is_live
    assert second.next_number() == 2


@pytest.mark.wire
async def test_the_ledger_has_what_was_answered(box: Sandbox) -> None:
    """Each call stands there with who, what, why and how it ended, and the token in no readable form."""
    box.rules = parse_rules({"rules": [{"name": "odd", "do": "U 1 time", "api": "cancel_token"}]})
    await consult(box, TOKEN)
    await cancel(box, TOKEN)
    await cancel(box, TOKEN)
    await until(lambda: box.ledger.ended(3) is not None)
    first, second, third = box.ledger.page(after=0, limit=10)
    assert (first["api"], first["rule"], first["says_code"], first["effect"]) == (
        "consult",
        "default",
        "SUCCESS",
        False,
    )
    assert first["idempotency_key"] is None
    assert (second["rule"], second["behaviour"], second["says_status"], second["effect"]) == (
        "odd",
        "U",
        "U",
        False,
    )
    assert second["idempotency_key"] == second["fingerprint"] == fingerprint(TOKEN)
    assert (third["rule"], third["effect"], third["ended"]) == ("default", True, Ending.ANSWERED)
    assert first["client_id"] == "SANDBOX_HUB_CLIENT_01"
    assert first["received_at"] <= first["ended_at"] <= second["received_at"]
    assert TOKEN not in json.dumps([first, second, third])
    assert box.ledger.token(TOKEN).calls == {"consult": 1, "cancel_token": 2}
    assert box.ledger.token(TOKEN).revoked_by == 3


@pytest.mark.wire
async def test_a_restarted_sandbox_knows_what_was_revoked(key_directory: Path, tmp_path: Path) -> None:
    """With a ledger file, revocations and the progress of scripts outlive the sandbox."""
    config = SandboxConfig(
        directory=key_directory,
        ledger_file=tmp_path / "ledger.jsonl",
        rules=parse_rules({"rules": [{"do": "U 2 times", "api": "cancel_token", "token": "tok_2"}]}),
    )
    async with sandbox(config) as box:
        await cancel(box, TOKEN)
        await cancel(box, "tok_2")
    async with sandbox(config) as box:
        assert (await consult(box, TOKEN)).result == ("F", "PARAM_ILLEGAL")
        assert [(await cancel(box, "tok_2")).result[0] for _ in range(2)] == ["U", "S"]
        assert [call.number for call in box.ledger.calls()] == [1, 2, 3, 4, 5]


@pytest.mark.wire
async def test_a_killed_sandbox_has_written_what_it_did(key_directory: Path, tmp_path: Path) -> None:
    """A revocation whose answer never left stands in the file, though the process was killed (SIGKILL)."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": [{"do": "hang + done"}]}))
    path = tmp_path / "l.jsonl"
    config = SandboxConfig(directory=key_directory)
    async with sandbox(config) as box:
        keys = box.keys
    for name in (
        "client.key.pem",
        "client.pub.pem",
        "hub.key.pem",
        "hub.pub.pem",
        "hub.old.key.pem",
        "hub.old.pub.pem",
    ):
        (tmp_path / name).write_bytes((key_directory / name).read_bytes())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(tmp_path), str(rules), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(BOUND_S):
            box.base_url = (await process.stdout.readline()).decode().strip()
        assert box.keys is keys
        calling = asyncio.create_task(cancel(box, TOKEN))
        await until(lambda: path.read_bytes().endswith(b"\n"))
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert (await calling).raw == b""
    ledger = Ledger.at(path, now_at=5)
    ledger.close()
    assert not ledger.token(TOKEN).is_live
    end = ledger.ended(1)
    assert end is not None
    assert end.ended is Ending.SANDBOX_STOPPED
