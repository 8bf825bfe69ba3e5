"""`driftline why` tells what a person would want to know."""

from __future__ import annotations

import json

from click.testing import CliRunner

from workers.cli import main


def run(lab, *args: str) -> tuple[int, str]:
    s = lab.settings
    env = {
        "DRIFTLINE_KAFKA": s.kafka,
        "DRIFTLINE_REDIS": s.redis.get_secret_value(),
        "DRIFTLINE_NAMESPACE": s.namespace,
    }
    result = CliRunner().invoke(main, ["why", *args], env={**env, "DRIFTLINE_USER_PARTITIONS": str(s.user_partitions)})
    return result.exit_code, result.stdout


def test_why_tells_what_was_sent_and_why_the_next_was_held(lab) -> None:
    lab.shopper("ann")
    with lab.running():
        lab.change("ann")
        lab.settle()
        second = lab.change("ann")
        lab.settle()

    code, told = run(lab, "ann")
    assert code == 0
    assert "ann: held, cap: the user has had as many notifications in 24 hours as allowed" in told
    assert "cause: Garden > Tools, 3 visits, at " in told
    assert second in told
    assert "1 notification in the 24 hours before, the last one 0 min earlier" in told
    assert "ann: notified" in told
    assert "said: New in Tools. Because you looked at wheelbarrow: spade, rake and hose" in told
    assert "spade, score 0.500, because they looked at wheelbarrow (similarity 0.500)" in told

    (notification,) = lab.notifications()
    code, about_it = run(lab, notification["id"])
    assert code == 0
    assert "ann: notified" in about_it
    assert "held" not in about_it

    code, raw = run(lab, "ann", "--json", "--limit", "1")
    found = json.loads(raw)
    assert [decision["kind"] for decision in found["decisions"]] == ["held"]
    assert len(found["state"]["causes"]) == 2

    code, nothing = run(lab, "nobody")
    assert code == 1
    assert "Nothing was decided about nobody" in nothing
