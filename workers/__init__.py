"""Processes that are not stream topology: push, replay, local servers, demo, and the `driftline` command."""
