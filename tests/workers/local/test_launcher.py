"""Servers: an address in the environment first, then what was asked for, then the embedded servers."""

from __future__ import annotations

import socket

import pytest
from redis import Redis

from workers.local.launcher import Servers
from workers.local.process import LocalServerError


def test_the_embedded_servers_answer_and_can_be_reached_for_chaos(servers: Servers) -> None:
    assert servers.kafka_server is not None
    assert servers.valkey is not None
    assert servers.kafka == servers.kafka_server.bootstrap
    with Redis.from_url(servers.redis) as client:
        config = client.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert config == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


def test_addresses_in_the_environment_are_used_and_nothing_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        environ = {"SHOP_KAFKA": f"{address},127.0.0.1:1", "SHOP_REDIS": f"redis+cluster://:secret@{address}"}
        with Servers(env_prefix="SHOP_", environ=environ) as servers:
            assert (servers.kafka, servers.redis) == (environ["SHOP_KAFKA"], environ["SHOP_REDIS"])
            assert servers.kafka_server is None
            assert servers.valkey is None


@pytest.mark.parametrize("address", ["redis://:secret@127.0.0.1:9/0", "redis://:secret@127.0.0.1:http/0"])
def test_a_wrong_address_names_the_variable_and_never_the_password(address: str) -> None:
    with pytest.raises(LocalServerError, match="DRIFTLINE_TEST_REDIS: ") as caught:
        Servers(environ={"DRIFTLINE_TEST_REDIS": address}).start()
    assert "secret" not in str(caught.value)


def test_containers_without_a_docker_engine_fail_and_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(LocalServerError, match=r"no Docker engine answers.*unset the variable"):
        Servers(environ={"DRIFTLINE_TEST_SERVERS": "containers"}).start()


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(LocalServerError, match="DRIFTLINE_TEST_SERVERS='podman'"):
        Servers(environ={"DRIFTLINE_TEST_SERVERS": "podman"}).start()


def test_an_address_before_the_start_is_an_error() -> None:
    with pytest.raises(LocalServerError, match="Kafka is not started"):
        _ = Servers().kafka
