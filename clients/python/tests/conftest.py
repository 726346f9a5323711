"""What several tests need."""

from __future__ import annotations

import pytest
from scripted import Scripted

from dispatchd.testing import FakeDaemon


@pytest.fixture
def fake():
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture
def daemon(tmp_path):
    scripted = Scripted(str(tmp_path / "d.sock"))
    yield scripted
    scripted.close()
