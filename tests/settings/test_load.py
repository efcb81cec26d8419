"""Reading settings: two sources, and every problem at once."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.states import Step
from worker.saga.patience import PATIENCE
from worker.settings import CounterpartName, Problem, Profile, SettingsError, Source, load
from worker.settings.outline import leaves
from worker.settings.tree import Settings

HUB = {
    "UNBINDING_COUNTERPARTS__HUB__BASE_URL": "https://hub.example",
    "UNBINDING_COUNTERPARTS__HUB__CLIENT_ID": "WALLETCLIENT000001",
    "UNBINDING_COUNTERPARTS__HUB__PRIVATE_KEY_FILE": "/keys/hub.pem",
    "UNBINDING_COUNTERPARTS__HUB__PUBLIC_KEY_FILES": '{"1": "/keys/hub.1.pem"}',
}
NAMES_OF_THE_CONTRACT = {
    "application profile instance_id log_format",
    "kafka.bootstrap_servers kafka.security_protocol kafka.session_timeout",
    "topics.prefix topics.partitions topics.replication",
    *(
        f"counterparts.{name}.{leaf}"
        for name in CounterpartName
        for leaf in (
            *("base_url", "client_id", "key_version", "private_key_file", "private_key_password_file"),
            *("public_key_files", "paths", "scheme", "hash", "query_words", "edition", "timeout"),
            *("in_flight", "rate", "ca_file", "client_cert_file"),
        )
    ),
    "steps.consult steps.notify_hub operators.public_key_files",
    *(f"patience.{step}.{leaf}" for step in Step for leaf in ("quick", "waits", "give_up_after")),
    "limits.live_sagas limits.live_bytes limits.in_flight limits.record_bytes",
    "sealing.keys_file sealing.active sealing.fingerprint_keys_file sealing.fingerprint_active",
    "remember.time remember.bytes http.address",
}


def problems_of(environ: dict[str, str], config: Path | None = None) -> SettingsError:
    """Return the error that loading raises."""
    with pytest.raises(SettingsError) as raised:
        load(environ=environ, config=config)
    return raised.value


def written(tmp_path: Path, text: str) -> Path:
    """Write a settings file."""
    path = tmp_path / "unbinding.toml"
    path.write_text(text)
    return path


def test_all_public_names_are_there() -> None:
    """Every name that the contract lists is a leaf."""
    assert {name for names in NAMES_OF_THE_CONTRACT for name in names.split()} <= set(leaves())


def test_every_leaf_is_documented() -> None:
    """Each leaf has a sentence of one line, and stands at its attribute in the model."""
    for leaf in leaves().values():
        assert leaf.sentence.endswith("."), leaf.name
        assert "\n" not in leaf.sentence, leaf.name
        assert leaf.default is not None or leaf.example is not None, leaf.name


def test_nothing_given_means_the_defaults() -> None:
    """Without a file and variables all leaves have the defaults of the documents."""
    loaded = load(environ={"PATH": "/bin", "PROFILE": "nonsense", "KAFKA": "nonsense"})
    assert loaded.settings.application == "unbinding"
    assert loaded.settings.profile is Profile.PLATFORM
    assert loaded.settings.topics.partitions == 12
    assert loaded.settings.remember.time_ms == 7 * 24 * 3_600_000
    assert loaded.settings.remember.bytes_per_shard == 64 * 1024 * 1024
    assert loaded.settings.counterparts.hub is None
    assert not loaded.given


@pytest.mark.parametrize("step", list(Step))
def test_default_patience_is_that_of_the_rules(step: Step) -> None:
    """The patience that settings default to is the one that the saga's rules state."""
    mine, theirs = load(environ={}).settings.patience.of(step), PATIENCE[step]
    assert (mine.quick, mine.waits_ms, mine.give_up_after_ms) == (
        theirs.quick,
        theirs.waits_ms,
        theirs.give_up_after_ms,
    )


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A variable beats the file leaf by leaf; each leaf knows where it came from."""
    path = written(
        tmp_path, '[patience.consult]\nquick = 1\nwaits = ["1s", 2, 0.5]\n[http]\naddress="[::1]:80"\n'
    )
    loaded = load(environ={"UNBINDING_PATIENCE__CONSULT__QUICK": "3"}, config=path)
    assert loaded.settings.patience.consult.quick == 3
    assert loaded.settings.patience.consult.waits_ms == (1_000, 2_000, 500)
    assert loaded.settings.patience.consult.give_up_after_ms == 120_000
    assert loaded.source("patience.consult.quick") is Source.ENVIRONMENT
    assert loaded.given["patience.consult.waits"].origin == f"{path}:3"
    assert loaded.given["http.address"].origin == f"{path}:5"


def test_a_counterpart_comes_from_the_environment() -> None:
    """A whole counterpart can be set by variables, maps as JSON."""
    hub = load(environ={**HUB, "UNBINDING_COUNTERPARTS__HUB__TIMEOUT": "250ms"}).settings.counterparts.hub
    assert hub is not None
    assert hub.public_key_files == {"1": Path("/keys/hub.1.pem")}
    assert hub.timeout_ms == 250
    assert set(hub.paths) == {"consult", "notify_hub"}


def test_the_variable_names_the_file_and_the_argument_wins(tmp_path: Path) -> None:
    """UNBINDING_CONFIG names the file unless one is given as an argument."""
    path = written(tmp_path, 'application = "a"')
    other = tmp_path / "other.toml"
    other.write_text('application = "b"')
    environ = {"UNBINDING_CONFIG": str(path)}
    assert load(environ=environ).settings.application == "a"
    assert load(environ=environ, config=other).settings.application == "b"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("on", "on"), ("off", "off"), ('["2160120000000001"]', ("2160120000000001",))],
)
def test_consult_is_a_switch_or_a_list(value: str, expected: object) -> None:
    """Consult is on, off, or the list of wallets that are not consulted."""
    assert load(environ={"UNBINDING_STEPS__CONSULT": value}).settings.steps.consult == expected


def test_brokers_may_be_text_with_commas() -> None:
    """Brokers can be written as Kafka's own tools do, or as a list."""
    expected = ("a:1", "b:2")
    for text in ("a:1, b:2", '["a:1", "b:2"]'):
        assert (
            load(environ={"UNBINDING_KAFKA__BOOTSTRAP_SERVERS": text}).settings.kafka.bootstrap_servers
            == expected
        )


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    """A name that does not exist is an error that suggests the nearest one, in both sources."""
    path = written(tmp_path, '[topics]\npartitons = 3\n[kafkaa]\nx = 1\n[counterparts.hubb]\nbase_url = ""\n')
    error = problems_of({"UNBINDING_LIMITS__LIVE_SAGA": "1"}, path)
    told = {problem.name: problem for problem in error.problems}
    assert "`topics.partitions`" in told["topics.partitons"].remedy
    assert told["topics.partitons"].origin == f"{path}:2"
    assert "`kafka`" in told["kafkaa"].remedy
    assert "`counterparts.hub`" in told["counterparts.hubb"].remedy
    assert "`UNBINDING_LIMITS__LIVE_SAGAS`" in told["UNBINDING_LIMITS__LIVE_SAGA"].remedy


def test_a_variable_in_small_letters_is_unknown() -> None:
    """Only capitals are taken, so that no two variables can mean one leaf."""
    error = problems_of({"UNBINDING_profile": "wallet"})
    assert "`UNBINDING_PROFILE`" in error.problems[0].remedy


@pytest.mark.parametrize(
    "variable",
    ["UNBINDING_SERVICE_HOST", "UNBINDING_PORT_8080_TCP_ADDR", "UNBINDING_WORKER_SERVICE_PORT_HTTP"],
)
def test_a_kubernetes_service_link_is_recognised(variable: str) -> None:
    """What Kubernetes puts into a pod for a Service of our name is named as such."""
    assert "enableServiceLinks" in problems_of({variable: "10.0.0.1"}).problems[0].remedy


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Wrong values, bad JSON and missing leaves come in one list, each with origin and remedy."""
    path = written(tmp_path, 'profile = "walet"\n\n[limits]\nin_flight = true\n')
    environ = {
        "UNBINDING_KAFKA__SESSION_TIMEOUT": "soon",
        "UNBINDING_COUNTERPARTS__HUB__BASE_URL": "hub.example",
        "UNBINDING_COUNTERPARTS__HUB__PUBLIC_KEY_FILES": "{",
        "UNBINDING_COUNTERPARTS": "{}",
        "UNBINDING_HTTP__ADDRESS": "",
    }
    error = problems_of(environ, path)
    told = {problem.name: problem for problem in error.problems}
    assert set(told) == {
        "profile",
        "limits.in_flight",
        "kafka.session_timeout",
        "counterparts",
        "counterparts.hub.base_url",
        "counterparts.hub.client_id",
        "counterparts.hub.private_key_file",
        "counterparts.hub.public_key_files",
        "http.address",
    }
    assert "did you mean `wallet`" in told["profile"].wrong
    assert told["profile"].origin == f"{path}:1"
    assert told["limits.in_flight"].origin == f"{path}:4"
    assert told["kafka.session_timeout"].origin == "UNBINDING_KAFKA__SESSION_TIMEOUT"
    assert "UNBINDING_COUNTERPARTS__HUB__CLIENT_ID" in told["counterparts.hub.client_id"].remedy
    assert "JSON" in told["counterparts.hub.public_key_files"].wrong
    assert str(error).startswith("9 settings are wrong:")
    assert all(text in str(error) for problem in error.problems for text in (problem.name, problem.origin))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a = \nb = 1", "broken.toml:1"),
        (b"x = 1\nx = 2", "is no TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"a = " + b"[" * 50_000, "nested too deep"),
    ],
)
def test_an_unusable_file_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    """A file that is no TOML is an error that names the file and, where known, the line."""
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    assert expected in str(problems_of({}, path))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there is an error, not an empty file; so is a directory, and an empty name."""
    assert "does not exist" in str(problems_of({"UNBINDING_CONFIG": str(tmp_path / "none.toml")}))
    assert "cannot be read" in str(problems_of({}, tmp_path))
    assert "set but empty" in str(problems_of({"UNBINDING_CONFIG": ""}))


def test_settings_cannot_be_changed() -> None:
    """Settings are frozen."""
    loaded = load(environ={})
    with pytest.raises(ValueError, match="frozen"):
        loaded.settings.topics.partitions = 3  # type: ignore[misc]  # this is what must not work


def test_the_model_alone_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load` reads the environment: the model by itself does not look there."""
    monkeypatch.setenv("APPLICATION", "other")
    assert Settings().application == "unbinding"


def test_a_secret_is_in_no_message_and_no_repr(tmp_path: Path) -> None:
    """A password is neither in an error about it, nor in the repr of what was loaded."""
    secret = "correct-horse-battery"
    path = written(tmp_path, f'[kafka]\nsasl_password = ["{secret}"]\nsession_timeout = "{secret}"\n')
    error = problems_of({"UNBINDING_COUNTERPARTS__HUB__CLIENT_ID": f" {secret}"}, path)
    assert len(error.problems) >= 3
    assert secret not in str(error) + repr(error) + repr(error.problems)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    loaded = load(environ={"UNBINDING_KAFKA__SASL_PASSWORD": secret})
    assert secret not in repr(loaded)


ODD_TEXT = st.one_of(
    st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=40),
    st.sampled_from(
        ["[", "{", "[]", "{}", "[[1]]", "null", "NaN", "-1", "1e9", "\udcff", "[1,", '{"a": {"b": 1}}']
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ).map(json.dumps),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(leaves())), ODD_TEXT, min_size=1, max_size=6))
def test_any_environment_loads_or_tells_what_is_wrong(values: dict[str, str]) -> None:
    """Whatever the variables hold, settings load or an error names the leaf, its origin and what to do."""
    environ = {leaves()[name].variable: text for name, text in values.items()}
    problems: tuple[Problem, ...] = ()
    try:
        load(environ=environ)
    except SettingsError as error:
        problems = error.problems
    for problem in problems:
        assert problem.name.partition("[")[0] in leaves()
        assert problem.wrong
        assert problem.origin
        assert problem.remedy
        assert problem.name.isprintable()


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_[].\n\x1b", max_size=40))
def test_any_unknown_variable_is_told(rest: str) -> None:
    """Whatever follows our prefix, an unknown name is told on one printable line with what to do."""
    variable = f"UNBINDING_{rest}"
    if variable == "UNBINDING_CONFIG" or variable in {leaf.variable for leaf in leaves().values()}:
        return
    error = problems_of({variable: "1"})
    assert error.problems[0].name.isprintable()
    assert error.problems[0].remedy
