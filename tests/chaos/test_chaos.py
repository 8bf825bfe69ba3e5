"""The suite in short, on a server and on a Cluster; and the mistakes it must notice. In full: `make chaos SEED=n`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.duel import PLAN, duel
from tests.chaos.findings import Findings
from tests.chaos.plan import SHORT, SHORT_CLUSTER, Plan
from tests.chaos.suite import Suite

Run = Callable[[Plan], Findings]


@pytest.mark.timeout(240)
def test_everything_goes_wrong_and_every_key_is_what_the_oracle_says(tmp_path: Path) -> None:
    with Suite(SHORT, tmp_path) as suite:
        suite.run()
        findings = suite.compare()
        told = "\n".join(f"{what}: {count}" for what, count in suite.table())
    print(told)
    assert findings.good, f"{findings}\n{told}"


@pytest.mark.timeout(180)
def test_the_checkpoint_holds_on_a_cluster_of_three_primaries(tmp_path: Path) -> None:
    with Suite(SHORT_CLUSTER, tmp_path) as suite:
        suite.run()
        findings = suite.compare()
    assert findings.good, f"{findings}"


@pytest.fixture
def run_duel(kafka: str, redis_url: str, tmp_path: Path) -> Run:
    """The scenario of duel.py on the session's servers: it restarts neither and puts nothing back."""

    def run(plan: Plan) -> Findings:
        with Suite(plan, tmp_path, servers=(kafka, redis_url)) as suite:
            return duel(suite)

    return run


@pytest.mark.timeout(120)
def test_a_lost_message_and_a_zombie_change_nothing(run_duel: Run) -> None:
    findings = run_duel(replace(PLAN, mutant="lost-message"))
    assert findings.good, f"{findings}"


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        pytest.param("trim-without-reload", "users", id="(a) a batch trimmed after a mismatch, states not reloaded"),
        pytest.param("message-per-row", "link rows", id="(b) a message for each link, deduplicated by offset"),
        pytest.param("overtaking", "link rows", id="(c) a failed link message that later ones overtake"),
    ],
)
def test_the_suite_notices(run_duel: Run, mutant: str, check: str) -> None:
    findings = run_duel(replace(PLAN, mutant=mutant))
    assert check in findings.differences, f"nobody noticed; found were only: {findings}"
