"""Pages that repeat what the code says are held against it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.store import keys
from workers.cli import COMMANDS
from workers.show_settings import page

ROOT = Path(__file__).parents[2]


def test_the_settings_page_is_current() -> None:
    assert (ROOT / "docs/settings.md").read_text() == page(), "run `driftline settings --markdown > docs/settings.md`"


def test_the_redis_page_holds_the_key_table() -> None:
    table = [line for line in (keys.__doc__ or "").splitlines() if line.startswith("|")]
    shown = [line for line in (ROOT / "docs/redis.md").read_text().splitlines() if line.startswith("|")]
    assert shown[: len(table)] == table, "copy the table of streams/store/keys.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "workers", name, "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert f"driftline {name}" in answer.stdout


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
        broken += [
            f"{path.relative_to(ROOT)} -> {target}"
            for target in targets
            if "://" not in target and not (path.parent / target).exists()
        ]
    assert not broken
