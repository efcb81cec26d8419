"""Checks of counterparts: edition, signature, words, paths, environment; and of each profile as a whole."""

from pathlib import Path

import pytest

from tests.settings.checking import as_toml, found, judged, of_profile, only
from worker.settings import Profile, Severity, load

ERROR, WARNING = Severity.ERROR, Severity.WARNING


@pytest.mark.parametrize("profile", list(Profile))
def test_a_right_file_of_each_profile_has_no_findings(
    environ: dict[str, str], tmp_path: Path, profile: Profile
) -> None:
    """The settings file of each profile, with the counterparts that it needs and no more, is right."""
    config = tmp_path / "unbinding.toml"
    config.write_text(as_toml(of_profile(environ, profile)))
    config.chmod(0o600)
    loaded = load(environ={}, config=config)
    assert loaded.settings.profile is profile
    assert judged(loaded) == ()


@pytest.mark.parametrize(("profile", "edition"), [(Profile.ACQUIRER, "wallet"), (Profile.WALLET, "acquirer")])
def test_an_edition_that_is_given_must_be_the_profiles(
    environ: dict[str, str], profile: Profile, edition: str
) -> None:
    """Left out, the edition is the profile's own and right; another one that is given is an error."""
    mine = of_profile(environ, profile)
    assert found(mine) == {}
    assert found(mine | {"UNBINDING_COUNTERPARTS__TOKENS__EDITION": profile.value}) == {}
    finding = only(mine, COUNTERPARTS__TOKENS__EDITION=edition)
    assert (finding.severity, finding.name) == (ERROR, "counterparts.tokens.edition")
    assert f"{profile.value} edition" in finding.what
    assert finding.origin == "UNBINDING_COUNTERPARTS__TOKENS__EDITION"


@pytest.mark.parametrize("edition", ["wallet", "acquirer"])
def test_a_platform_may_speak_either_edition(environ: dict[str, str], edition: str) -> None:
    """A platform's token service may speak either edition."""
    assert found(environ | {"UNBINDING_COUNTERPARTS__TOKENS__EDITION": edition}) == {}


@pytest.mark.parametrize(
    ("severity", "leaf", "value", "says"),
    [
        (WARNING, "hub.edition", "wallet", "nothing looks at it"),
        (ERROR, "hub.scheme", "envelope", "in the header"),
        (ERROR, "tokens.scheme", "envelope", "in the header"),
        (ERROR, "antom.scheme", "envelope", "in the header"),
        (ERROR, "alipayhk.scheme", "header", "in the envelope"),
        (ERROR, "hub.hash", "SHA1withRSA", "SHA-256 only"),
        (ERROR, "antom.hash", "SHA1withRSA", "SHA-256 only"),
        (WARNING, "alipayhk.query_words", '{"OPEN": "live"}', "no word for `ended`"),
        (WARNING, "alipayhk.query_words", '{"CLOSED": "ended"}', "no word for `live`"),
        (WARNING, "alipayhk.query_words", "{}", "is empty"),
        (ERROR, "hub.paths", '{"consult": "/a/../c", "notify_hub": "/n"}', "sent as '/c'"),
        (ERROR, "hub.paths", '{"consult": "/a/./c"}', "sent as '/a/c'"),
        (ERROR, "hub.paths", '{"consult": "/c?"}', "empty query"),
        (ERROR, "alipayhk.paths", '{"cancel_agreement": "/c", "query": "/q/.."}', "path of query"),
        (ERROR, "merchants.paths", '{"notify_merchant": "/{merchantTag}/../u"}', "sent as"),
        (ERROR, "merchants.paths", '{"notify_merchant": "/{merchant}/u"}', "stand for nothing"),
    ],
)
def test_what_does_not_fit_a_counterpart_is_told(
    environ: dict[str, str], severity: Severity, leaf: str, value: str, says: str
) -> None:
    """What cannot work with a counterpart is an error, what is doubtful a warning: once, with the leaf."""
    finding = only(environ, **{f"COUNTERPARTS__{leaf.replace('.', '__').upper()}": value})
    assert (finding.severity, finding.name) == (severity, f"counterparts.{leaf}")
    assert says in finding.what


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("merchants.scheme", "header"),
        ("merchants.scheme", "envelope"),
        ("alipayhk.hash", "SHA256withRSA"),
        ("hub.hash", "SHA256withRSA"),
        ("hub.base_url", "https://hub.example/prefix"),
        ("hub.paths", '{"consult": "/a%20b/c?d=e"}'),
        ("merchants.paths", '{"notify_merchant": "/u"}'),
    ],
)
def test_what_fits_a_counterpart_is_not_told(environ: dict[str, str], leaf: str, value: str) -> None:
    """Both schemes for merchants, either hash in the envelope, and any plain path are right."""
    assert found(environ | {f"UNBINDING_COUNTERPARTS__{leaf.replace('.', '__').upper()}": value}) == {}


def test_a_hash_that_a_merchant_cannot_use_is_told(environ: dict[str, str]) -> None:
    """A merchant that signs in the header cannot be given SHA-1."""
    finding = only(
        environ,
        COUNTERPARTS__MERCHANTS__SCHEME="header",
        COUNTERPARTS__MERCHANTS__HASH="SHA1withRSA",
    )
    assert (finding.severity, finding.name) == (ERROR, "counterparts.merchants.hash")


def test_a_sandbox_id_at_a_production_host_is_told(environ: dict[str, str]) -> None:
    """The id of the sandbox at a host of production is a warning, at the sandbox's own host it is not."""
    mine = environ | {"UNBINDING_COUNTERPARTS__HUB__CLIENT_ID": "SANDBOX_5Y0000000000001"}
    assert found(mine) == {}
    finding = only(mine, COUNTERPARTS__HUB__BASE_URL="https://open-sea-global.alipayplus.com")
    assert (finding.severity, finding.name) == (WARNING, "counterparts.hub.client_id")
    assert "open-sea-global.alipayplus.com" in finding.what


@pytest.mark.parametrize(
    ("client", "base", "says"),
    [
        ("SANDBOX_5Y0000000000001", "/ams", "without /sandbox/"),
        ("5Y0000000000001", "/ams/sandbox", "with /sandbox/"),
    ],
)
def test_an_antom_path_of_the_other_environment_is_told(
    environ: dict[str, str], client: str, base: str, says: str
) -> None:
    """At Antom the path tells sandbox from production: one that does not fit the id is a warning."""
    mine = of_profile(environ, Profile.ANTOM_MERCHANT)
    right, wrong = (
        f'{{"cancel_token": "{here}/api/v1/authorizations/revoke", "offer": "{there}/api/v1/consult"}}'
        for other in ["/ams/sandbox" if base == "/ams" else "/ams"]
        for here, there in ((other, other), (other, base))
    )
    mine["UNBINDING_COUNTERPARTS__ANTOM__CLIENT_ID"] = client
    assert found(mine | {"UNBINDING_COUNTERPARTS__ANTOM__PATHS": right}) == {}
    finding = only(mine, COUNTERPARTS__ANTOM__PATHS=wrong)
    assert (finding.severity, finding.name) == (WARNING, "counterparts.antom.paths")
    assert says in finding.what
    assert "path of offer" in finding.what
    here = {"UNBINDING_COUNTERPARTS__ANTOM__BASE_URL": "http://127.0.0.1:8080"}
    assert found(mine | here | {"UNBINDING_COUNTERPARTS__ANTOM__PATHS": wrong}) == {}
