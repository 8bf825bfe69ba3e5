"""Every command line of docs/replay.md for a public data set, run as printed on a few rows in that set's own form."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.workers.replay.conftest import Driftline

PAGE = Path(__file__).parents[3] / "docs" / "replay.md"

FIVE_YEARS_MS = 1826 * 86_400_000

# name → (a few rows of it, one of the events they become)
SAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "events.csv": (
        """\
timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,addtocart,248676,
1433222276276,599528,transaction,356475,4000
""",
        {"user_id": "599528", "item_id": "356475", "type": "purchase", "time": 1_433_222_276_276},
    ),
    "2019-Oct.csv": (
        """\
event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde
2019-10-01 00:00:01 UTC,remove_from_cart,1307067,2053013558920217191,computers.notebook,lenovo,251.74,5506,7c90fc70
""",
        {
            "user_id": "5506",
            "item_id": "1307067",
            "type": "uncart",
            "time": 1_569_888_001_000,
            "session_id": "7c90fc70",
            "category": "computers > notebook",
            "value": 251.74,
        },
    ),
    "u.data": (
        "196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
        {"user_id": "196", "item_id": "242", "type": "rating", "value": 3, "time": 881_250_949_000 + FIVE_YEARS_MS},
    ),
    "ml-25m.zip": (
        "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n1,306,3.5,1147868817\n",
        {"user_id": "1", "item_id": "306", "type": "rating", "value": 3.5, "time": 1_147_868_817_000 + FIVE_YEARS_MS},
    ),
    "train-item-views.csv": (
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;81766;526309;2016-05-09\n1;NA;31331;1031018;2016-05-09\n",
        {"user_id": "1", "session_id": "1", "item_id": "81766", "type": "view", "time": 1_462_752_526_309},
    ),
    "yoochoose-clicks.txt": (
        "SessionId\tItemId\tTime\n11265009\t214586805\t1411990021.187\n",
        {
            "user_id": "11265009",
            "session_id": "11265009",
            "item_id": "214586805",
            "type": "click",
            "time": 1_411_990_021_187,
        },
    ),
}


def documented() -> dict[str, list[str]]:
    """file → arguments, for every command of the section on public data sets."""
    section = PAGE.read_text(encoding="utf-8").split("## Maps for public data sets")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    commands = [shlex.split(block.replace("\\\n", " ")) for block in blocks]
    return {command[2]: command[1:] for command in commands}


def test_every_documented_command_has_a_sample() -> None:
    assert documented().keys() == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_documented_command_reads_its_data_set(driftline: Driftline, name: str) -> None:
    text, expected = SAMPLES[name]
    if name.endswith(".zip"):
        with zipfile.ZipFile(driftline.home / name, "w") as archive:
            archive.writestr("ml-25m/README.txt", "")
            archive.writestr("ml-25m/ratings.csv", text)
    else:
        driftline.file(name, text)
    driftline(*documented()[name])

    events: list[dict[str, Any]] = [json.loads(record.value() or b"") for record in driftline.records()]
    rows = text.count("\n") - (name != "u.data")
    assert len(events) == rows
    for event in events:
        del event["event_id"]
    assert expected in events
