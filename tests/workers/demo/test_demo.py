"""The demo on less of its data, against the session's servers: the same command, the same exit code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.timeout(180)
def test_the_demo_shows_what_a_shop_wants_to_see(kafka: str, redis_url: str) -> None:
    environment = {**os.environ, "DRIFTLINE_KAFKA": kafka, "DRIFTLINE_REDIS": redis_url, "COLUMNS": "100"}
    command = [sys.executable, "-m", "workers", "demo", "--purchases", "40000", "--live", "1000", "--rate", "500"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for section in ("what belongs together", "interests over time", "drifts", "pushes:", "why:", "held:", "events/s"):
        assert section in done.stdout
    assert "purchase → notification" in done.stdout
