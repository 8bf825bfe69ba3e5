"""Where a replay stands, in a small JSON file, so that an interrupted one can go on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import xxhash


class StateError(Exception):
    """A state file cannot be used; the message names it and says what to do."""


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a replay came.

    key       what is replayed where (see `key_of`): a state fits no other replay
    position  rows done, in event-time order; all of them acknowledged
    offsets   partition → offset after the last acknowledged record
    clean     whether nothing was under way when it was written
    """

    key: str
    position: int
    offsets: dict[int, int]
    clean: bool

    def save(self, path: Path) -> None:
        """Replaces the file in one step: a reader sees the old state or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(path)


def load(path: Path, key: str) -> State:
    """The state in a file.

    Raises StateError when there is none, it is damaged, or belongs to another replay.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        raise StateError(f"nothing to resume: there is no {path}; leave out --resume") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path}: {error}; delete it and leave out --resume") from error
    if state.key != key:
        raise StateError(f"{path} belongs to another file, topic or set of options; repeat those, or drop --resume")
    return state


def key_of(parts: Mapping[str, object]) -> str:
    """32 hex digits over everything that decides which rows go where, in which order.

    >>> key_of({"file": "a", "to": "t"}) == key_of({"to": "t", "file": "a"}) != key_of({"file": "b", "to": "t"})
    True
    """
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(parts, order="sorted"))


def default_path(key: str) -> Path:
    """The state file of a replay in the user's state directory (XDG_STATE_HOME, else ~/.local/state)."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "driftline" / "replay" / f"{key}.json"
