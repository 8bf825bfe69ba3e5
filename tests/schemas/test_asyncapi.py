"""schemas/asyncapi.yaml is valid AsyncAPI 3.0 and says what streams/topics.py and the code say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft7Validator

from schemas import interest_change, notification, push_decision
from schemas.cloudevents import SOURCE, cloudevents_headers
from schemas.coordinates import Coordinates
from schemas.dead_letter import dead_letter_headers
from schemas.reasons import Reason, Rejection
from streams import topics
from streams.settings import Settings
from streams.topics import TOPICS, Keyed, Topic
from tests.schemas.samples import SCHEMA_FILES, SCHEMAS

HERE = Path(__file__).parent
DOCUMENT: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())
CHANNELS: dict[str, dict[str, Any]] = {
    channel["address"].removeprefix("{namespace}."): channel for channel in DOCUMENT["channels"].values()
}


def test_the_document_is_valid_asyncapi() -> None:
    official = json.loads((HERE / "asyncapi-3.0.0.json").read_text())
    faults = [
        f"{'/'.join(map(str, e.path))}: {e.message[:200]}" for e in Draft7Validator(official).iter_errors(DOCUMENT)
    ]
    assert faults == []


def test_every_reference_leads_somewhere() -> None:
    for reference in _references(DOCUMENT):
        file, _, pointer = reference.partition("#")
        found: Any = DOCUMENT if not file else json.loads((SCHEMAS / file).read_text())
        for step in pointer.split("/")[1:]:
            found = found[step]


def test_every_json_schema_is_the_payload_of_a_message() -> None:
    used = {(SCHEMAS / reference).resolve() for reference in _references(DOCUMENT) if reference.startswith("./")}
    assert used == {path.resolve() for path in SCHEMA_FILES}


def test_the_channels_are_the_topics() -> None:
    assert set(CHANNELS) == {topic.name for topic in TOPICS}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_channel_is_as_its_topic(topic: Topic) -> None:
    channel = CHANNELS[topic.name]
    kafka = channel["bindings"]["kafka"]
    assert channel["x-partitioned-by"] == topic.partitioned_by
    assert channel.get("x-internal", False) == topic.internal
    assert kafka["topicConfiguration"] == {
        "cleanup.policy": ["compact" if topic.compacted else "delete"],
        "retention.ms": topic.retention_ms,
    }
    assert kafka["partitions"] == _default_partitions(topic.partitioned_by)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_channels_key_is_the_one_on_the_page_of_topics(topic: Topic) -> None:
    (key,) = re.findall(rf"^\| {re.escape(topic.name)} [^|]*\|[^|]*\| (\w+) ", topics.__doc__ or "", re.MULTILINE)
    channel = CHANNELS[topic.name]
    assert channel["x-key"] == key
    traits = {"user_id": "keyedByUser", "item_id": "keyedByItem"}
    for message in channel["messages"].values():
        used = [trait["$ref"].rpartition("/")[2] for trait in _at(message["$ref"]).get("traits", [])]
        assert [trait for trait in used if trait.startswith("keyed")] == ([traits[key]] if key in traits else [])


def test_the_cloudevents_trait_holds_the_headers_we_write() -> None:
    headers = DOCUMENT["components"]["messageTraits"]["cloudEvent"]["headers"]
    for kind in (interest_change.CE_TYPE, notification.CE_TYPE, push_decision.CE_TYPE):
        written = cloudevents_headers(id="i", type=kind, subject="u", time="2026-03-01T11:00:00Z", source=SOURCE)
        assert [name for name, _ in written] == headers["required"] == list(headers["properties"])
        Draft7Validator(headers).validate({name: value.decode() for name, value in written})


def test_the_dead_letter_message_holds_the_headers_we_write() -> None:
    headers = DOCUMENT["components"]["messages"]["deadLetter"]["headers"]
    written = dict(
        dead_letter_headers(
            Rejection(Reason.NOT_JSON, "value: x"), Coordinates("t", 0, 1), timestamp=7, key=b"k", value=b"{"
        )
    )
    assert set(written) == set(headers["properties"]) == {*headers["required"], "key"}
    Draft7Validator(headers).validate({name: value.decode() for name, value in written.items()})


def test_the_page_of_the_binary_layout_exists() -> None:
    message = DOCUMENT["components"]["messages"]["itemLinks"]
    (page,) = set(re.findall(r"docs/[a-z-]+\.md", json.dumps(message)))
    assert (SCHEMAS.parent / page).exists()


def _default_partitions(basis: Keyed) -> int:
    assert basis in get_args(Keyed)
    settings = Settings()
    return {
        "users": settings.user_partitions,
        "items": settings.item_partitions,
        "catalogue": settings.catalogue_partitions,
        "one": 1,
    }[basis]


def _at(reference: str) -> dict[str, Any]:
    found: Any = DOCUMENT
    for step in reference.split("/")[1:]:
        found = found[step]
    assert isinstance(found, dict)
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
