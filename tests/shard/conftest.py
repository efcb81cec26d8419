"""A fresh desk for each test."""

from __future__ import annotations

import pytest

from tests.shard.desk import Desk


@pytest.fixture
def desk() -> Desk:
    """Return a shard that is not started yet, with everything in order around it."""
    return Desk()
