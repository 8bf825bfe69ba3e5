"""The published files, and which Python decoder answers for each schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.behaviour import decode_behaviour
from schemas.catalogue import decode_catalogue
from schemas.feedback import decode_feedback
from schemas.interest_change import decode_interest_change
from schemas.notification import decode_notification
from schemas.push_decision import decode_push_decision
from schemas.user_settings import decode_user_settings

SCHEMAS = Path(__file__).parents[2] / "schemas"
MAX_BYTES = 65_536

Decode = Callable[[bytes], Any]

DECODERS: dict[str, Decode] = {
    "behaviour-event": lambda raw: decode_behaviour(raw, max_bytes=MAX_BYTES),
    "catalogue-item": lambda raw: decode_catalogue(b"key", raw),
    "user-settings": lambda raw: decode_user_settings(raw, max_bytes=MAX_BYTES),
    "notification-feedback": lambda raw: decode_feedback(raw, max_bytes=MAX_BYTES),
    "interest-change": decode_interest_change,
    "notification": decode_notification,
    "push-decision": decode_push_decision,
}

SCHEMA_FILES = sorted((SCHEMAS / "jsonschema").glob("*/*.json"))
GOOD = sorted((SCHEMAS / "samples").glob("*/*/*.json"))
REJECTED = sorted((SCHEMAS / "samples").glob("*/*/rejected/*.json"))


def label(path: Path) -> str:
    """A file's name in test output: its path below schemas/."""
    return path.relative_to(SCHEMAS).as_posix()


def name_of(path: Path) -> str:
    """The schema a published file belongs to: the folder below jsonschema/ or samples/."""
    return path.relative_to(SCHEMAS).parts[1]


def schema_of(name: str, version: str = "1-0-0") -> dict[str, Any]:
    """A published schema, parsed."""
    found: dict[str, Any] = json.loads((SCHEMAS / "jsonschema" / name / f"{version}.json").read_text())
    return found
