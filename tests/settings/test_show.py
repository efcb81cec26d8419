"""Showing settings, and the example file."""

import re
import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from worker.settings import Source, describe, example, load
from worker.settings.outline import leaves, value_of
from worker.settings.show import fingerprint, toml_value


def test_the_example_loads_to_the_defaults(tmp_path: Path) -> None:
    """The example file as it is printed changes nothing."""
    path = tmp_path / "example.toml"
    path.write_text(example())
    assert load(environ={}, config=path).settings == load(environ={}).settings


def test_the_example_is_complete(tmp_path: Path) -> None:
    """With every line of it taken in, each leaf is set, and those with a default are set to it."""
    text = re.sub(r"^#(?=[a-z_\[]+[\w.\]]* ?=?)", "", example(), flags=re.MULTILINE)
    text = re.sub(r"^sasl_password_file.*$", "", text, flags=re.MULTILINE)
    path = tmp_path / "full.toml"
    path.write_text(text)
    loaded = load(environ={}, config=path)
    assert set(loaded.given) == set(leaves()) - {"kafka.sasl_password_file"}
    for leaf in leaves().values():
        if leaf.default is not None:
            assert value_of(loaded.settings, leaf) == leaf.default, leaf.name


def test_the_example_documents_each_leaf() -> None:
    """The example has the sentence of each leaf in front of it."""
    text = example()
    for leaf in leaves().values():
        assert f"# {leaf.sentence}" in text


def test_each_leaf_is_described_with_its_source() -> None:
    """A row for each leaf says value, source and origin; a counterpart that is left out is one row."""
    rows = {row.name: row for row in describe(load(environ={"UNBINDING_REMEMBER__TIME": "48h"}))}
    assert rows["remember.time"].value == "2d"
    assert rows["remember.time"].source is Source.ENVIRONMENT
    assert rows["remember.time"].origin == "UNBINDING_REMEMBER__TIME"
    assert rows["limits.live_bytes"].value == "256MiB"
    assert rows["limits.live_bytes"].source is Source.DEFAULT
    assert rows["patience.offer.waits"].value == ["5s", "15s"]
    assert rows["counterparts.hub"].value is None
    assert "counterparts.hub.base_url" not in rows
    assert set(leaves()) - set(rows) == {name for name in leaves() if name.startswith("counterparts.")}


def test_a_secret_is_described_by_its_fingerprint() -> None:
    """A password is shown as a fingerprint: the same for the same password, different for another."""
    secret = "correct-horse-battery"
    loaded = load(environ={"UNBINDING_KAFKA__SASL_PASSWORD": secret})
    (row,) = (row for row in describe(loaded) if row.secret)
    assert row.value == fingerprint(secret) != fingerprint(secret + "x")
    assert secret not in repr(describe(loaded))


@given(st.text())
def test_any_text_is_written_as_toml(text: str) -> None:
    """What the example writes for a text reads back as that text."""
    assert tomllib.loads(f"x = {toml_value(text)}") == {"x": text}
