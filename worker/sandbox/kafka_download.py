"""Downloads the pinned jars of Apache Kafka once, verified by SHA-256, into the user's cache."""

import base64
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import ssl
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path

import truststore

from worker.sandbox.kafka_errors import DownloadError

CENTRAL = "https://repo.maven.apache.org/maven2"
"""Maven Central, as Maven's own super POM names it."""

URL_VARIABLE = "UNBINDING_MAVEN_URL"
"""The environment variable that names another Maven repository, for example a company's mirror."""

_PARALLEL = 6
_TRIES = 3
_TIMEOUT_S = 30
_CHUNK = 1 << 16
_HOPELESS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: Maven coordinates `group:artifact:version`, size in bytes, SHA-256 in hex."""

    coordinates: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file name, such as `kafka-clients-4.4.0.jar`."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"

    @property
    def path(self) -> str:
        """The path in a Maven repository, local or remote."""
        group, artifact, version = self.coordinates.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The jars that make one version of Apache Kafka run."""

    version: str
    jars: tuple[Jar, ...]

    @property
    def size(self) -> int:
        """All jars together, in bytes."""
        return sum(jar.size for jar in self.jars)


Progress = Callable[[int, int], None]
"""Told now and then how many bytes are there, and of how many; called from several threads, one at a time."""


def read_manifest() -> Manifest:
    """Return the manifest that this package ships (made by `make kafka-jars`)."""
    shipped = json.loads(files("worker.sandbox").joinpath("kafka_jars.json").read_text(encoding="utf-8"))
    return Manifest(version=shipped["version"], jars=tuple(Jar(**jar) for jar in shipped["jars"]))


def cache_folder() -> Path:
    """Return where downloads are kept: `$XDG_CACHE_HOME/unbinding`, by default `~/.cache/unbinding`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "unbinding"


def kafka_jars(
    *,
    manifest: Manifest | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> tuple[Path, ...]:
    """Return the paths of all jars, verified, downloading what is missing; raise `DownloadError`.

    Blocks. Several processes may ask at once: one downloads, the others wait for it. What was
    interrupted goes on where it stopped. The manifest is the shipped one unless another is given.
    Setting `stop`, from any thread, ends the download with a `DownloadError`.
    """
    if manifest is None:
        manifest = read_manifest()
    folder = cache_folder() / f"kafka-{manifest.version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / ".lock"):
            missing = [jar for jar in manifest.jars if not _verified(folder / jar.name, jar)]
            if missing:
                download = _Download(
                    folder=folder, manifest=manifest, progress=progress, stop=stop or threading.Event()
                )
                download.fetch(missing)
    except OSError as error:
        raise DownloadError(
            f"cannot keep the Kafka jars in {folder}: {error}. Free some space (about 100 MB), "
            f"or name another folder in XDG_CACHE_HOME."
        ) from error
    return tuple(folder / jar.name for jar in manifest.jars)


def repository_url() -> str:
    """Return the Maven repository: the environment's, else a mirror in Maven's settings, else Central."""
    url = os.environ.get(URL_VARIABLE) or mirror_of_central(Path.home() / ".m2" / "settings.xml") or CENTRAL
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadError(
            f"the Maven repository {_shown(url)} is no http or https address: set {URL_VARIABLE}"
        )
    return url.rstrip("/")


def mirror_of_central(settings: Path) -> str | None:
    """Return the URL of the first mirror in a Maven `settings.xml` that stands in for `central`."""
    try:
        root = ET.parse(settings).getroot()  # noqa: S314 -- the user's own file, which Maven trusts as well
    except FileNotFoundError:
        return None
    except (OSError, ET.ParseError) as error:
        raise DownloadError(f"cannot read {settings}: {error}. Mend it, or set {URL_VARIABLE}.") from error
    for mirror in root.iterfind("./{*}mirrors/{*}mirror"):
        of = {word.strip() for word in mirror.findtext("{*}mirrorOf", "").split(",")}
        blocked = mirror.findtext("{*}blocked", "false").strip() == "true"
        url = mirror.findtext("{*}url", "").strip()
        if url and not blocked and of & {"*", "central", "external:*"} and "!central" not in of:
            return url
    return None


class _Download:
    """One run: fetches several jars at once into one folder."""

    def __init__(
        self, *, folder: Path, manifest: Manifest, progress: Progress | None, stop: threading.Event
    ) -> None:
        self._folder = folder
        self._url = repository_url()
        self._total = manifest.size
        self._progress = progress
        self._lock = threading.Lock()
        self._stop = stop
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        )
        self._there = 0

    def fetch(self, missing: list[Jar]) -> None:
        """Fetch these jars; the first failure stops the others."""
        self._count(self._total - sum(jar.size for jar in missing))
        with ThreadPoolExecutor(max_workers=_PARALLEL, thread_name_prefix="kafka-jar") as pool:
            running = [pool.submit(self._fetch_one, jar) for jar in missing]
            try:
                for each in running:
                    each.result()
            finally:
                self._stop.set()
                for each in running:
                    each.cancel()

    def _fetch_one(self, jar: Jar) -> None:
        target = self._folder / jar.name
        from_maven = Path.home() / ".m2" / "repository" / jar.path
        if _verified(from_maven, jar):
            _copy_into(from_maven, target)
            self._count(jar.size)
            return
        part = target.with_suffix(".part")
        for left in reversed(range(_TRIES)):
            try:
                self._receive(jar, part)
                break
            except (OSError, http.client.HTTPException) as error:
                hopeless = isinstance(error, urllib.error.HTTPError) and error.code in _HOPELESS
                if hopeless or not left or self._stop.is_set():
                    raise DownloadError(self._why(jar, error)) from error
        part.replace(target)

    def _receive(self, jar: Jar, part: Path) -> None:
        """Get the rest of one jar into `part`; raise `DownloadError` if it is not the pinned one."""
        already = part.stat().st_size if part.exists() else 0
        if already >= jar.size:
            part.unlink()
            already = 0
        request = self._request(jar, first_byte=already)
        counted = 0
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                resumed = answer.status == HTTPStatus.PARTIAL_CONTENT
                counted = already if resumed else 0
                self._count(counted)
                with part.open("ab" if resumed else "wb") as out:
                    while not self._stop.is_set() and (chunk := answer.read(_CHUNK)):
                        out.write(chunk)
                        self._count(len(chunk))
                        counted += len(chunk)
            if counted != jar.size:
                raise ConnectionError(f"the answer ended after {counted} of {jar.size} bytes")
        except (OSError, http.client.HTTPException):
            self._count(-counted)  # the next try counts what it finds
            raise
        if not _verified(part, jar):
            part.unlink()
            raise DownloadError(
                f"{_shown(self._url)}/{jar.path} is not the pinned file (its SHA-256 differs). "
                f"Nothing of it was used. If a mirror is in between, ask its keeper, or set {URL_VARIABLE}."
            )

    def _request(self, jar: Jar, *, first_byte: int) -> urllib.request.Request:
        parts = urllib.parse.urlsplit(self._url)
        host = parts.hostname or ""
        address = parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()
        request = urllib.request.Request(f"{address}/{jar.path}")  # noqa: S310 -- http(s), see `repository_url`
        request.add_header("User-Agent", "unbinding-worker")
        if first_byte:
            request.add_header("Range", f"bytes={first_byte}-")
        if parts.username:
            login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            token = base64.b64encode(login.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        return request

    def _why(self, jar: Jar, error: Exception) -> str:
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else str(error)
        return (
            f"cannot download {jar.name} from {_shown(self._url)}: {reason}. Check the network and "
            f"HTTPS_PROXY, or name a Maven repository that you reach in {URL_VARIABLE}; then start again: "
            f"what was downloaded is kept."
        )

    def _count(self, more: int) -> None:
        with self._lock:
            self._there += more
            if self._progress is not None:
                self._progress(self._there, self._total)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold an advisory lock, so that two processes do not write the same part file."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _verified(file: Path, jar: Jar) -> bool:
    try:
        if file.stat().st_size != jar.size:
            return False
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


def _copy_into(source: Path, target: Path) -> None:
    """Copy under another name first, so that a file of the final name is always whole."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".copy-", delete=False) as copy:
        staged = Path(copy.name)
    try:
        shutil.copyfile(source, staged)
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)


def _shown(url: str) -> str:
    """Return the URL without a user or password that it may carry."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
