"""`python -m tests.chaos --seed N` (`make chaos SEED=N`): the long exactly-once run.

Exit code 1 and a folder of logs if it fails.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table

from tests.chaos.plan import SHORT, Plan
from tests.chaos.suite import Suite


@click.command()
@click.option(
    "--seed", default=1, show_default=True, help="Of events, kills and put-backs; thread and network timing vary."
)
@click.option("--events", type=int, help="Behaviour events at least  [200000; 15000 with --short]")
@click.option("--hits", type=int, help="Times each failpoint kills  [20; 1 with --short]")
@click.option("--short", is_flag=True, help="What `make test` runs.")
@click.option("--cluster", is_flag=True, help="On a Valkey Cluster of three primaries.")
@click.option("--no-push", is_flag=True, help="Without push workers.")
@click.option("--keep", is_flag=True, help="Keep the logs of a good run too.")
def main(
    seed: int, events: int | None, hits: int | None, *, short: bool, cluster: bool, no_push: bool, keep: bool
) -> None:
    """Everything that can go wrong on real servers, then every key against an oracle."""
    plan = replace(SHORT if short else Plan(), seed=seed, cluster=cluster)
    plan = replace(plan, events=events or plan.events, hits=plan.hits if hits is None else hits)
    if no_push:
        plan = plan.without_push()
    console = Console(soft_wrap=True)
    with Suite(plan, show=console.print) as suite:
        console.print(f"seed {seed}, logs in {suite.folder}")
        suite.run()
        findings = suite.compare()
        table = Table("what", "how much")
        for row in suite.table():
            table.add_row(*row)
        console.print(table)
    if findings.good:
        if not keep:
            shutil.rmtree(suite.folder)
        console.print("[green]every key, link, change and reject is what the oracle says")
    else:
        console.print(f"[red]{findings}\nlogs in {suite.folder}", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
