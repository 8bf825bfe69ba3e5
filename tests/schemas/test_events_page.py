"""docs/events.md shows what the code and the schemas say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.reasons import HoldReason, Reason, Rejection
from streams.topics import TOPICS, Topic
from tests.schemas.samples import DECODERS, schema_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "events.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SAMPLES: dict[str, str] = dict(re.findall(r"^```json ([a-z-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_has_its_section(topic: Topic) -> None:
    assert topic.name in SECTIONS


def test_every_schema_has_a_sample_on_the_page() -> None:
    assert set(SAMPLES) == set(DECODERS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sample_on_the_page_parses(name: str) -> None:
    assert not isinstance(DECODERS[name](SAMPLES[name].encode()), Rejection)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_table_of_fields_is_that_of_the_schema(name: str) -> None:
    (section,) = (text for text in SECTIONS.values() if f"```json {name}\n" in text)
    required = dict(re.findall(r"^\| `([\w.\[\]]+)` \|[^|]*\| (yes|no) \|", section, re.MULTILINE))
    assert required == dict(_fields(schema_of(name), ""))


@pytest.mark.parametrize(("marker", "codes"), [("reasons", Reason), ("hold reasons", HoldReason)])
def test_a_table_of_codes_is_current(marker: str, codes: type[Reason | HoldReason]) -> None:
    (table,) = re.findall(rf"<!-- {marker}: [^>]*-->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    current = "".join(f"| `{code}` | {code.meaning} |\n" for code in codes)
    assert table == f"| code | meaning |\n|---|---|\n{current}", f"replace the table by\n{current}"


def test_the_python_snippet_is_the_file() -> None:
    (shown,) = re.findall(r"^```python docs/snippets/producer\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown == (DOCS / "snippets" / "producer.py").read_text()


def test_every_link_on_the_page_leads_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in SECTIONS}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = target.partition("#")
        assert (DOCS / file).exists(), target
        assert file or anchor in anchors, target


def _fields(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, rule in schema["properties"].items():
        yield prefix + name, "yes" if name in schema.get("required", []) else "no"
        inner = rule.get("items", rule)
        if "properties" in inner and name != "setting":  # that one is user-settings.v1
            yield from _fields(inner, f"{prefix}{name}{'[].' if 'items' in rule else '.'}")


def test_the_samples_are_indented_json() -> None:
    for text in SAMPLES.values():
        assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
