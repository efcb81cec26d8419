"""Key files: written, read strictly, refused clearly, and never quoted."""

from __future__ import annotations

import base64
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.sealing import (
    FILE_MODE,
    Exposure,
    KeyFile,
    KeyFileInvalid,
    Purpose,
    new_key_file,
    permission_warnings,
    read_key_file,
    with_new_key,
    write_key_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(32, 64))).decode()
HEAD = 'version = 1\npurpose = "sealing"\n'


def _chance(seed: int) -> Callable[[int], bytes]:
    return Random(seed).randbytes  # noqa: S311 - a seeded source is the point


def _read(text: str) -> KeyFile:
    return read_key_file(text, purpose=Purpose.SEALING, source="keys.toml")


@given(
    keys=st.dictionaries(
        st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._\-]{0,63}\Z"),
        st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 1),
        min_size=1,
        max_size=5,
    ).filter(lambda keys: len(set(keys.values())) == len(keys)),
    purpose=st.sampled_from(Purpose),
)
def test_what_was_written_is_read(keys: dict[str, bytes], purpose: Purpose) -> None:
    """Every ring's file comes back with the same ids, keys and order."""
    read = read_key_file(
        write_key_file(KeyFile(purpose=purpose, keys=keys)), purpose=purpose, source="keys.toml"
    )

    assert list(read.keys.items()) == list(keys.items())
    assert read.purpose is purpose


def test_new_file_has_one_active_key() -> None:
    """A new file has one key from the given chance, which is active without being named."""
    made = new_key_file(purpose=Purpose.SEALING, key_id="2025-03", random=_chance(1))
    ring = _read(write_key_file(made)).ring()

    assert ring.ids == ("2025-03",)
    assert ring.key("2025-03") == _chance(1)(32)


def test_rotation_keeps_the_old_key() -> None:
    """A second key is added beside the first; then the active one must be named."""
    file = with_new_key(new_key_file(purpose=Purpose.SEALING, key_id="a"), key_id="b")

    assert file.ring(active="b").ids == ("b", "a")
    with pytest.raises(KeyFileInvalid, match="2 keys: name the active one"):
        file.ring()
    with pytest.raises(KeyFileInvalid, match="not in the key ring"):
        file.ring(active="c")
    with pytest.raises(KeyFileInvalid, match="already"):
        with_new_key(file, key_id="a")
    with pytest.raises(KeyFileInvalid, match="cannot be used"):
        with_new_key(file, key_id="a:b")


def test_remarks_and_a_byte_order_mark_are_read_over() -> None:
    """A file that a person has annotated, in an editor that writes a byte-order mark, is read."""
    text = f'\ufeff# ours\r\n{HEAD}\r\n[keys]\r\n"a" = "{KEY}" # March\r\n'

    assert list(_read(text).keys) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "version = 1"),
        ("{}", "not TOML"),
        (f'{HEAD}[keys]\na = "{KEY}', "not TOML"),
        (f'{HEAD}[keys]\na = "{KEY}"\na = "{OTHER}"\n', "twice"),
        (f'version = 2\npurpose = "sealing"\n[keys]\na = "{KEY}"\n', "version = 1"),
        (f'version = true\npurpose = "sealing"\n[keys]\na = "{KEY}"\n', "version = 1"),
        (f'version = 1\n[keys]\na = "{KEY}"\n', "right file"),
        (f'version = 1\npurpose = "fingerprints"\n[keys]\na = "{KEY}"\n', "right file"),
        (f'{HEAD}active = "a"\n[keys]\na = "{KEY}"\n', "nothing else"),
        (HEAD, "has no key"),
        (f"{HEAD}[keys]\n", "has no key"),
        (f'{HEAD}keys = "{KEY}"\n', "has no key"),
        (f"{HEAD}[keys]\na = 1\n", "'a' is not a text"),
        (f'{HEAD}[keys]\na.b = "{KEY}"\n', "'a' is not a text"),
        (f'{HEAD}[keys]\na = "x{KEY}"\n', "'a' is not the Base64"),
        (f'{HEAD}[keys]\na = "{KEY}\\n"\n', "'a' is not the Base64"),
        (f'{HEAD}[keys]\na = ""\n', "'a' has 0 bytes, not 32"),
        (f'{HEAD}[keys]\na = "{KEY[:40]}"\n', "'a' has 30 bytes, not 32"),
        (f'{HEAD}[keys]\na = "{base64.b64encode(bytes(33)).decode()}"\n', "'a' has 33 bytes, not 32"),
        (f'{HEAD}[keys]\na = "{base64.b64encode(bytes(32)).decode()}"\n', "placeholder"),
        (f'{HEAD}[keys]\na = "{KEY}"\nb = "{KEY}"\n', "'b' is the same as another one"),
        (f'{HEAD}[keys]\n"a:b" = "{KEY}"\n', "a key id cannot be used"),
        (f'{HEAD}[keys]\n"{KEY}" = "a"\n', "a key id cannot be used"),
        (HEAD + "x = " + "[" * 5_000, "not TOML"),
    ],
)
def test_wrong_files_are_refused_without_being_quoted(text: str, message: str) -> None:
    """Every mistake in a key file gives a message with the file's name, and no message shows a key."""
    with pytest.raises(KeyFileInvalid, match=message) as caught:
        _read(text)

    assert str(caught.value).startswith("keys.toml: ")
    for key in (KEY, OTHER):
        assert key[:10] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(text=st.text(max_size=200))
def test_arbitrary_texts_are_refused(text: str) -> None:
    """An arbitrary text is never a key file and never crashes the reader."""
    with pytest.raises(KeyFileInvalid):
        _read(text)


@pytest.mark.parametrize(
    ("mode", "exposures"),
    [
        (0o100600, []),
        (0o100400, []),
        (0o100640, [Exposure.READABLE]),
        (0o100604, [Exposure.READABLE]),
        (0o100644, [Exposure.READABLE]),
        (0o100620, [Exposure.WRITABLE]),
        (0o100666, [Exposure.READABLE, Exposure.WRITABLE]),
    ],
)
def test_wide_permissions_are_warned_of(mode: int, exposures: list[Exposure]) -> None:
    """Permissions that let others read or change the keys give a warning that says what to do, no failure."""
    warnings = permission_warnings(mode, source="keys.toml")

    assert [warning.exposure for warning in warnings] == exposures
    assert all("chmod 600" in warning.message and "keys.toml" in warning.message for warning in warnings)


def test_file_mode_gives_no_warning() -> None:
    """The mode that key files are to be written with is one that nobody is warned of."""
    assert permission_warnings(FILE_MODE, source="x") == ()


def test_reprs_show_no_key() -> None:
    """The repr of a file's content shows no key."""
    file = _read(f'{HEAD}[keys]\na = "{KEY}"\n')

    assert repr(file) == "KeyFile(purpose=<Purpose.SEALING: 'sealing'>)"
