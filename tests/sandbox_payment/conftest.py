"""A running sandbox per test, with keys made once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worker.sandbox.payment import Sandbox, SandboxConfig, sandbox


@pytest.fixture(scope="session")
def key_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory whose keys and certificates are made by the first sandbox and used by all."""
    return tmp_path_factory.mktemp("sandbox")


@pytest.fixture
async def box(key_directory: Path) -> AsyncIterator[Sandbox]:
    """Run a sandbox over HTTP and HTTPS, without rules."""
    async with sandbox(SandboxConfig(directory=key_directory, tls_port=0)) as running:
        yield running
