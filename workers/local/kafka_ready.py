"""When a fresh broker is ready: a port that answers is not enough.

Right after the first start the coordinators load for a second or two and clients print retriable errors. So we wait
until a producer has opened transactions and a group has been described on every partition of the two internal topics.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from workers.local.kafka_probe import ANOTHER_CLUSTER, READY
from workers.local.process import LocalServerError, PortTakenError, Process

_PROBE = Path(__file__).with_name("kafka_probe.py")
_PORT_TAKEN = ("Address already in use", "java.net.BindException")
_POLL_S = 0.03


def wait_until_ready(broker: Process, bootstrap: str, cluster_id: str, deadline: float) -> None:
    """Return when this broker serves transactions and groups.

    bootstrap  host:port of a listener without security
    deadline   time.monotonic() seconds

    Raises PortTakenError when a port belongs to another process, LocalServerError with the end of the broker's log when
    it ended or is not ready in time.
    """
    seconds = max(1.0, deadline - time.monotonic())
    command = [sys.executable, "-I", str(_PROBE), bootstrap, cluster_id, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as probe:  # noqa: S603  # our own program
        try:
            while probe.poll() is None and broker.alive:
                time.sleep(_POLL_S)
        finally:
            probe.kill()
    if not broker.alive and any(words in broker.output() for words in _PORT_TAKEN):
        raise PortTakenError(
            f"Kafka: a port beside {bootstrap} was taken by another process; stop it or choose another"
        )
    if not broker.alive:
        raise LocalServerError(f"Kafka ended while starting; its log {broker.log} ends with\n{broker.tail()}")
    if probe.returncode == ANOTHER_CLUSTER:
        raise PortTakenError(f"{bootstrap}: another Kafka answers there; stop it or choose another port")
    if probe.returncode != READY:
        raise LocalServerError(f"Kafka is not ready in time; its log {broker.log} ends with\n{broker.tail()}")
