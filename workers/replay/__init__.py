"""Replay recorded behaviour as if it happened now: read a file, order it by event time, send it at a chosen pace.

`rows` what a line becomes · `files` opening one · `formats`, `columns`, `completejourney` reading one · `order` by
event time · `pace` and `send` onto Kafka · `state` resuming · `cli` the command. docs/replay.md is the user's page.
"""
