"""`python -m workers` is the `driftline` command."""

from workers.cli import main

main(prog_name="driftline")
