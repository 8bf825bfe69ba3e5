"""One Settings, read once at a process's entry point from the environment (`DRIFTLINE_*`) and passed down.

Fields of `FoldSettings` decide what the fold computes: their hash is part of every checkpoint, and a worker refuses to
go on with others (docs/operations.md, "Changing settings").
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.core.policy import LearningPolicy

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """Every setting: unit, default and effect. Unknown `DRIFTLINE_*` variables fail at start (see `from_env`)."""

    model_config = SettingsConfigDict(env_prefix="DRIFTLINE_", frozen=True, extra="forbid")

    # servers
    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port]")
    redis: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis or Valkey URL; redis+cluster://host:port for a Cluster. May hold a password: never printed",
    )
    namespace: str = Field(
        "driftline",
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="prefix of topics, consumer groups and Redis keys; lets staging and production share servers",
    )

    # partition counts: fixed when topics are created, stored in every checkpoint
    user_partitions: int = Field(4, ge=1, le=1024, description="partitions of every topic keyed by user")
    item_partitions: int = Field(4, ge=1, le=1024, description="partitions of item-links.v1")
    catalogue_partitions: int = Field(2, ge=1, le=1024, description="partitions of catalogue.v1")
    replication_factor: int = Field(1, ge=1, le=9, description="used by `driftline topics create`; 3 in production")
    min_insync_replicas: int = Field(1, ge=1, le=9, description="used by `driftline topics create`; 2 in production")

    # the worker
    generation: int = Field(0, ge=0, description="generation to compute; 0 is the one that serves")
    instance_id: str = Field("", max_length=128, description="static group membership; empty: dynamic membership")
    batch_max_records: int = Field(4000, ge=1, le=100_000, description="records in one flush at most")
    fetch_min_bytes: int = Field(
        1, ge=1, description="Kafka fetch.min.bytes; about 200000 trades latency for throughput"
    )
    fetch_max_wait_ms: int = Field(50, ge=1, le=5000, description="Kafka fetch.max.wait.ms")
    session_timeout_ms: int = Field(10_000, ge=1000, description="how long Kafka waits for a silent worker")
    cached_users: int = Field(200_000, ge=100, description="user states kept in memory, per process")
    cached_items: int = Field(200_000, ge=100, description="item states kept in memory, per process")
    idle_check_s: float = Field(5.0, gt=0, description="how often an idle partition compares its watermark with Redis")
    view_budget: float = Field(
        0.05, gt=0, le=1, description="share of one core the derivation of views may take while input waits"
    )
    view_budget_idle: float = Field(0.5, gt=0, le=1, description="the same while no input waits")
    view_interval_s: float = Field(1.0, ge=0, description="a key's view is derived at most once in this many seconds")
    state_ttl_s: int = Field(
        400 * 86_400, ge=86_400, description="Redis TTL of user and item state; garbage collection"
    )
    web_host: str = Field("127.0.0.1", description="address of /metrics, /healthz and /readyz")
    web_port: Port = Field(6066, description="port of /metrics, /healthz and /readyz; 0 picks a free one")
    stall_after_s: float = Field(
        60.0, gt=0, description="/healthz fails when input waits and nothing moved for this long"
    )

    # input
    max_event_bytes: int = Field(
        65_536, ge=256, le=1_048_576, description="a larger behaviour event is `too-large`; part of the settings hash"
    )

    # the fold (part of the settings hash)
    learning: LearningPolicy = Field(default_factory=LearningPolicy, description="see streams/core/policy.py")

    # push
    push_enabled: bool = Field(
        default=True, description="kill switch: false holds every push with reason `kill-switch`"
    )
    push_shadow: bool = Field(default=False, description="decide and journal, send nothing (reason `shadow`)")
    push_clock: Literal["wall", "event"] = Field(
        "wall", description="`event` judges caps, gaps and expiry by event time: for replays of history only"
    )
    push_cap_per_day: int = Field(1, ge=0, le=100, description="notifications a user may get in any 24 hours")
    push_gap_s: float = Field(4 * 3600.0, ge=0, description="seconds between two notifications to one user")
    push_items: int = Field(3, ge=1, le=10, description="items in one notification at most")
    push_min_score: float = Field(
        0.02, ge=0, description="a candidate below this summed similarity is not worth a push"
    )
    push_max_lag_s: float = Field(60.0, gt=0, description="hold everything while the input is further behind than this")
    push_max_age_s: float = Field(3600.0, gt=0, description="an interest change older than this is `stale`")
    push_expiry_s: float = Field(24 * 3600.0, gt=0, description="a notification's life time")

    @property
    def fold_hash(self) -> bytes:
        """8 bytes over everything that decides what the fold computes."""
        return hashlib.sha256(msgspec.msgpack.encode([self.learning, self.max_event_bytes], order="sorted")).digest()[
            :8
        ]


class SettingsError(Exception):
    """A setting is unknown or malformed; the message names the variable, the value and what to do."""


def from_env(environ: dict[str, str] | None = None, /, **override: object) -> Settings:
    """Settings from the environment.

    Raises SettingsError naming the variable for an unknown or malformed one.
    """
    import os

    env = dict(os.environ) if environ is None else environ
    known = {f"DRIFTLINE_{name.upper()}" for name in Settings.model_fields}
    outside = {"DRIFTLINE_FAILPOINTS", "DRIFTLINE_CACHE_DIR", "DRIFTLINE_MAVEN_URL"}  # not read through Settings
    unknown = sorted(
        k
        for k in env
        if k.startswith("DRIFTLINE_") and k not in known | outside and not k.startswith("DRIFTLINE_TEST_")
    )
    if unknown:
        raise SettingsError(f"{unknown[0]}: no such setting; `docs/operations.md` lists them")
    values: dict[str, object] = {
        name: env[f"DRIFTLINE_{name.upper()}"] for name in Settings.model_fields if f"DRIFTLINE_{name.upper()}" in env
    }
    return _validated({**values, **override})


def _validated(values: dict[str, object]) -> Settings:
    if isinstance(values.get("learning"), str):
        try:
            values["learning"] = msgspec.json.decode(str(values["learning"]), type=LearningPolicy)
        except msgspec.MsgspecError as error:
            raise SettingsError(
                f"DRIFTLINE_LEARNING: {error}; it takes a JSON object of LearningPolicy's fields"
            ) from None
    try:
        return Settings(**values)  # type: ignore[arg-type]  # values come from the environment; pydantic checks them
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        shown = "***" if name == "redis" else repr(first.get("input"))
        raise SettingsError(f"DRIFTLINE_{name.upper()}={shown}: {first['msg']}") from None
