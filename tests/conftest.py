"""Real servers, shared by the whole test session: one Kafka, one Valkey, and a Valkey Cluster for those who ask.

They start when the first test needs them. A server that cannot start is a failure that says what to do, never a skip.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from workers.local.launcher import Servers
from workers.local.process import LocalServerError
from workers.local.valkey_cluster import ValkeyCluster


@contextmanager
def _or_fail() -> Iterator[None]:
    try:
        yield
    except LocalServerError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def _launcher() -> Iterator[Servers]:
    launcher = Servers()
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def servers(_launcher: Servers) -> Servers:
    """One Kafka and one Valkey (append-only file, fsync every second). Leave them running: others share them."""
    with _or_fail():
        return _launcher.start()


@pytest.fixture(scope="session")
def kafka(_launcher: Servers) -> str:
    """Kafka bootstrap servers, host:port."""
    with _or_fail():
        return _launcher.start_kafka()


@pytest.fixture(scope="session")
def redis_url(_launcher: Servers) -> str:
    """URL of the standalone server."""
    with _or_fail():
        return _launcher.start_redis()


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """Three primaries; `valkey_cluster.url` is redis+cluster://host:port."""
    with ExitStack() as stack:
        with _or_fail():
            cluster = stack.enter_context(ValkeyCluster())
        yield cluster


@pytest.fixture
def namespace() -> str:
    """A fresh prefix for topics, groups and keys, so that tests share the servers without meeting."""
    return f"t-{secrets.token_hex(6)}"
