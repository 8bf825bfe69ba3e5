"""A Valkey (or Redis) Cluster of three primaries on 127.0.0.1."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from workers.local.process import HOST, LocalServerError
from workers.local.valkey import Valkey

_PRIMARIES = 3
_SLOTS = 16_384
_POLL_S = 0.05


class ValkeyCluster:
    """A Cluster of three primaries, without replicas, that share the 16384 slots.

    data     folder kept across runs, one folder a node within it; None: a temporary one
    binary, appendonly, maxmemory, options  as of Valkey

    Raises LocalServerError when a node does not start or the Cluster does not form.
    """

    def __init__(
        self,
        data: Path | None = None,
        *,
        binary: Path | str | None = None,
        appendonly: bool = False,
        maxmemory: str | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        cluster = {"cluster-enabled": "yes", "cluster-node-timeout": "2000", **(options or {})}
        self.nodes = tuple(
            Valkey(
                data / str(index) if data else None,
                binary=binary,
                appendonly=appendonly,
                maxmemory=maxmemory,
                options=cluster,
            )
            for index in range(_PRIMARIES)
        )

    @property
    def url(self) -> str:
        """redis+cluster://host:port of the first node."""
        return f"redis+cluster://{self.nodes[0].address}"

    def start(self, timeout_s: float = 30.0) -> Self:
        """Start all nodes, make them one Cluster unless they are, return when every node says cluster_state:ok."""
        deadline = time.monotonic() + timeout_s
        for node in self.nodes:
            node.start(timeout_s)
        if not all(self._asked(node, "cluster_slots_assigned") == str(_SLOTS) for node in self.nodes):
            self._join()
        for node in self.nodes:
            while not self._healthy(node):
                if time.monotonic() > deadline:
                    raise LocalServerError(f"the Cluster did not form in time; see {node.log}")
                time.sleep(_POLL_S)
        return self

    def stop(self) -> None:
        """Clean stop of every node; ports and (with AOF) data stay for the next `start`."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """SIGKILL to every node."""
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        """Stop and start every node on the same ports."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop and remove temporary data folders."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _join(self) -> None:
        share = -(-_SLOTS // _PRIMARIES)
        for index, node in enumerate(self.nodes):
            with node.client() as client:
                # One by one and not by range: Redis before 7 knows no ADDSLOTSRANGE.
                slots = range(index * share, min((index + 1) * share, _SLOTS))
                client.execute_command("CLUSTER ADDSLOTS", *slots)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
                if index:
                    client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port)

    def _healthy(self, node: Valkey) -> bool:
        return (
            self._asked(node, "cluster_state") == "ok"
            and self._asked(node, "cluster_size") == str(_PRIMARIES)
            and self._asked(node, "cluster_slots_ok") == str(_SLOTS)
        )

    @staticmethod
    def _asked(node: Valkey, field: str) -> str:
        with node.client() as client:
            return str(client.execute_command("CLUSTER INFO")[field])
