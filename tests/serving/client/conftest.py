"""A server that answers by arithmetic, and both clients of it."""

import pytest

from tests.support.fake_server import FakeServer


@pytest.fixture
def server():
    with FakeServer() as found:
        yield found


@pytest.fixture
def client(server, make):
    with make(server.target) as found:
        yield found
