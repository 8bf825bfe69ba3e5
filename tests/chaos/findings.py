"""What a comparison found: by check, how many things were compared and every difference in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec


class Findings:
    """Nothing is left out: a check that compared nothing is a difference itself (`require`)."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        """Counts that nothing is held against."""
        self.differences: dict[str, list[str]] = {}

    def equal(self, check: str, what: str, found: Any, expected: Any) -> None:
        """One comparison."""
        self.compared[check] += 1
        if found != expected:
            self.differ(check, f"{what}: {apart(found, expected)}")

    def same(self, check: str, found: set[Any], expected: set[Any]) -> None:
        """Two sets, element by element."""
        self.compared[check] += len(found | expected)
        for extra in sorted(map(repr, found - expected)):
            self.differ(check, f"not expected: {extra:.300}")
        for missing in sorted(map(repr, expected - found)):
            self.differ(check, f"missing: {missing:.300}")

    def holds(self, check: str, what: str, *, fine: bool) -> None:
        """One condition."""
        self.compared[check] += 1
        if not fine:
            self.differ(check, what)

    def differ(self, check: str, text: str) -> None:
        self.differences.setdefault(check, []).append(text)

    def require(self, *checks: str) -> None:
        """These must have compared something: an empty comparison proves nothing."""
        for check in checks:
            if not self.compared[check]:
                self.differ(check, "nothing was compared")

    @property
    def good(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        lines = [f"{check}: {len(texts)} differences, the first:\n" + "\n".join(f"  {t}" for t in texts[:5])
                 for check, texts in self.differences.items()]  # fmt: skip
        return "\n".join(lines) or "no difference"


def apart(found: Any, expected: Any) -> str:
    """Where two values differ: of structs of one type only the fields that do."""
    if isinstance(found, msgspec.Struct) and type(found) is type(expected):
        names = [n for n in found.__struct_fields__ if getattr(found, n) != getattr(expected, n)]
        return "; ".join(f"{n}: {apart(getattr(found, n), getattr(expected, n))}" for n in names)
    return f"found {found!r:.300}, the oracle says {expected!r:.300}"
