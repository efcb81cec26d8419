import base64
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest
from typing_extensions import override

from worker.sandbox.kafka_download import (
    CENTRAL,
    Jar,
    Manifest,
    kafka_jars,
    mirror_of_central,
    read_manifest,
    repository_url,
)
from worker.sandbox.kafka_errors import DownloadError

CONTENT = bytes(range(256)) * 2000
JAR = Jar(
    coordinates="org.example.deep:small:1.0", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
)
MANIFEST = Manifest(version="test", jars=(JAR,))


@dataclass
class Repository:
    """A Maven repository of one jar, with the requests that it got."""

    url: str = ""
    content: bytes = CONTENT
    cut_after: int | None = None
    """The first answer ends after this many bytes, as if the connection had broken."""
    ranges: list[str | None] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    repository: Repository


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        repository = cast("_Server", self.server).repository
        asked = self.headers.get("Range")
        repository.paths.append(self.path)
        repository.ranges.append(asked)
        repository.logins.append(self.headers.get("Authorization"))
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = repository.content[first:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, repository.cut_after = repository.cut_after, None
        self.wfile.write(body if cut is None else body[:cut])

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    """Serve the jar on a port of this machine."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.repository = Repository(url=f"http://127.0.0.1:{server.server_port}/maven2")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.repository
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a home and a cache of its own, and no proxy."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UNBINDING_MAVEN_URL", raising=False)
    return tmp_path


def use(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the download at this repository."""
    monkeypatch.setenv("UNBINDING_MAVEN_URL", repository.url)


def test_the_shipped_manifest_pins_one_kafka_and_names_no_jar_twice() -> None:
    """The manifest holds Kafka 4.4.0, a SHA-256 for each jar, and each file name once."""
    manifest = read_manifest()
    assert manifest.version == "4.4.0"
    assert "org.apache.kafka:kafka_2.13:4.4.0" in {jar.coordinates for jar in manifest.jars}
    assert len({jar.name for jar in manifest.jars}) == len(manifest.jars)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 and jar.size > 0 for jar in manifest.jars)


def test_a_jar_is_downloaded_once(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time the jar comes from the cache, and no request is made."""
    use(repository, monkeypatch)
    (first,) = kafka_jars(manifest=MANIFEST)
    (second,) = kafka_jars(manifest=MANIFEST)
    assert first == second
    assert first.read_bytes() == CONTENT
    assert repository.paths == ["/maven2/org/example/deep/small/1.0/small-1.0.jar"]


def test_progress_ends_at_the_total(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last progress says that all bytes are there, also after an interruption."""
    use(repository, monkeypatch)
    repository.cut_after = 100_000
    told: list[tuple[int, int]] = []
    kafka_jars(manifest=MANIFEST, progress=lambda there, total: told.append((there, total)))
    assert told[-1] == (JAR.size, JAR.size)


def test_an_interrupted_download_goes_on_where_it_stopped(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a broken answer only the rest is asked for, and the whole is verified."""
    use(repository, monkeypatch)
    repository.cut_after = 100_000
    (jar,) = kafka_jars(manifest=MANIFEST)
    assert repository.ranges == [None, "bytes=100000-"]
    assert jar.read_bytes() == CONTENT


def test_a_stopped_download_says_so(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that is told to stop ends with an error, and does not try again."""
    use(repository, monkeypatch)
    stop = threading.Event()
    stop.set()
    with pytest.raises(DownloadError, match="ended after 0 of"):
        kafka_jars(manifest=MANIFEST, stop=stop)
    assert len(repository.paths) == 1


def test_a_file_that_is_not_the_pinned_one_is_refused(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A wrong SHA-256 is an error that says so, and nothing of the file is kept."""
    use(repository, monkeypatch)
    repository.content = bytes(len(CONTENT))
    with pytest.raises(DownloadError, match="is not the pinned file"):
        kafka_jars(manifest=MANIFEST)
    assert [file.name for file in home.rglob("small*")] == []


def test_a_spoiled_cache_is_mended(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached jar whose bytes have changed is downloaded again."""
    use(repository, monkeypatch)
    (jar,) = kafka_jars(manifest=MANIFEST)
    jar.write_bytes(bytes(len(CONTENT)))
    kafka_jars(manifest=MANIFEST)
    assert jar.read_bytes() == CONTENT


def test_a_jar_that_maven_has_already_is_taken_from_there(home: Path) -> None:
    """A jar in the local Maven repository with the pinned SHA-256 needs no network."""
    there = home / ".m2" / "repository" / JAR.path
    there.parent.mkdir(parents=True)
    there.write_bytes(CONTENT)
    (jar,) = kafka_jars(manifest=MANIFEST)
    assert jar.read_bytes() == CONTENT
    assert not jar.is_relative_to(home / ".m2")


def test_a_login_in_the_url_is_sent_but_never_shown(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror's user and password go into the request's header and into no message."""
    monkeypatch.setenv("UNBINDING_MAVEN_URL", repository.url.replace("//", "//me:se%40cret@"))
    repository.content = bytes(len(CONTENT))
    with pytest.raises(DownloadError) as raised:
        kafka_jars(manifest=MANIFEST)
    assert repository.logins == ["Basic " + base64.b64encode(b"me:se@cret").decode()]
    assert "se%40cret" not in str(raised.value)
    assert "se@cret" not in str(raised.value)


def test_a_repository_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which address failed and which setting changes it."""
    monkeypatch.setenv("UNBINDING_MAVEN_URL", "http://127.0.0.1:1/maven2")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1.*UNBINDING_MAVEN_URL"):
        kafka_jars(manifest=MANIFEST)


@pytest.mark.parametrize(
    ("mirror_of", "blocked", "taken"),
    [
        ("central", "false", True),
        ("*", "false", True),
        ("external:*", "false", True),
        ("internal, central", "false", True),
        ("*,!central", "false", False),
        ("internal", "false", False),
        ("*", "true", False),
    ],
)
def test_a_mirror_in_mavens_settings_is_used_if_it_stands_in_for_central(
    home: Path, mirror_of: str, blocked: str, *, taken: bool
) -> None:
    """A mirror counts when Maven itself would use it for Maven Central."""
    settings = home / ".m2" / "settings.xml"
    settings.parent.mkdir()
    settings.write_text(
        f"""<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0"><mirrors><mirror><id>ours</id>
        <mirrorOf>{mirror_of}</mirrorOf><blocked>{blocked}</blocked>
        <url>https://maven.example/all/</url></mirror></mirrors></settings>""",
        encoding="utf-8",
    )
    assert mirror_of_central(settings) == ("https://maven.example/all/" if taken else None)
    assert repository_url() == ("https://maven.example/all" if taken else CENTRAL)


def test_the_environment_comes_before_mavens_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """UNBINDING_MAVEN_URL decides, and anything but http and https is refused."""
    monkeypatch.setenv("UNBINDING_MAVEN_URL", "https://maven.example/")
    assert repository_url() == "https://maven.example"
    monkeypatch.setenv("UNBINDING_MAVEN_URL", "file:///etc")
    with pytest.raises(DownloadError, match="http"):
        repository_url()
