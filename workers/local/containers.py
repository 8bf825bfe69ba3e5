"""The same two servers as Docker containers, for those who ask: DRIFTLINE_TEST_SERVERS=containers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workers.local.process import LocalServerError

KAFKA_IMAGE = "confluentinc/cp-kafka:7.9.0"
VALKEY_IMAGE = "valkey/valkey:8"


def require_docker() -> None:
    """Raises LocalServerError saying what to do when no Docker engine answers."""
    try:
        import docker
        import testcontainers.core.container  # noqa: F401  # installed at all?
    except ModuleNotFoundError as error:
        raise LocalServerError(
            f"DRIFTLINE_TEST_SERVERS=containers needs {error.name}: pip install testcontainers, or unset the variable"
        ) from None
    try:
        client = docker.from_env()
        try:
            client.ping()
        finally:
            client.close()
    except Exception as error:
        raise LocalServerError(
            "DRIFTLINE_TEST_SERVERS=containers: no Docker engine answers "
            f"({type(error).__name__}). Start it (DOCKER_HOST says where it is), or unset the variable: the embedded "
            "servers need no Docker"
        ) from error


@contextmanager
def start_kafka() -> Iterator[str]:
    """Bootstrap servers of a Kafka container without automatic topics."""
    require_docker()
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer(KAFKA_IMAGE).with_kraft().with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    with container as kafka:
        yield str(kafka.get_bootstrap_server())


@contextmanager
def start_valkey() -> Iterator[str]:
    """URL of a Valkey container with an append-only file."""
    require_docker()
    from testcontainers.community.valkey import ValkeyContainer

    with ValkeyContainer(VALKEY_IMAGE).with_command("valkey-server --appendonly yes") as valkey:
        yield f"redis://{valkey.get_container_host_ip()}:{valkey.get_exposed_port()}/0"
