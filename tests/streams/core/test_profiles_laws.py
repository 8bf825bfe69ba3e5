"""Laws of stage 1 and of what it keeps and sends: batches do not matter, bytes survive a round trip."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core import profiles
from streams.core.checkpoint import UnknownVersionError, decode_checkpoint
from streams.core.links import BadLinksError, LinkRow, decode_links, encode_links
from streams.core.user_state import UserState, decode_user
from tests.streams.core.hostile_log import MAX_BYTES, POLICIES, checkpoint, hostile_logs


def folded(case: int, cuts: list[int]) -> tuple[object, ...]:
    """Everything stage 1 makes of partition 1's log, cut at `cuts`; states go through their bytes at every cut."""
    log = hostile_logs(case, 1500)[1]
    store: dict[str, bytes] = {}
    after, links, changes, rejects = checkpoint(1), [], [], []
    for start, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        decoded = profiles.decode(log[start:end], MAX_BYTES)
        states = {user: decode_user(data) for user, data in store.items()}
        decision = profiles.fold(after, decoded, states, POLICIES[case])
        after = decode_checkpoint(decision.checkpoint.encode())
        store |= {user: states[user].encode() for user in decision.dirty}
        links += decision.links
        changes += decision.changes
        rejects += [(rejected.record.offset, rejected.rejection) for rejected in decision.rejects]
    return after, store, links, changes, rejects


@pytest.mark.parametrize("case", range(len(POLICIES)))
def test_any_split_into_batches_gives_the_same(case: int) -> None:
    rng, size = random.Random(case), len(hostile_logs(case, 1500)[1])
    whole = folded(case, [])
    for pieces in (2, 7, 40):
        assert folded(case, sorted(rng.sample(range(1, size), pieces - 1))) == whole
    assert folded(case, list(range(1, size, 11))) == whole


def test_a_user_survives_the_round_trip() -> None:
    store = folded(0, [])[1]
    assert isinstance(store, dict)
    for data in store.values():
        assert decode_user(data).encode() == data
    assert decode_user(UserState().encode()) == UserState()
    with pytest.raises(UnknownVersionError):
        decode_user(b"\x02" + UserState().encode()[1:])


IDS = st.integers(0, 30).map(lambda n: (n * 0x9E3779B97F4A7C15 % 2**64, f"item {n}"))
ROWS = st.lists(
    st.tuples(
        st.integers(1, 2**30),
        st.integers(946_684_800_000, 4_102_444_800_000),
        st.integers(0, 2**64 - 1),
        st.booleans(),
        IDS,
        st.lists(IDS, max_size=5),
    ),
    min_size=1,
    max_size=12,
)


def link_rows(drawn: list[tuple[int, int, int, bool, tuple[int, str], list[tuple[int, str]]]]) -> list[LinkRow]:
    rows, offset = [], 2**40
    for step, ms, session, repeat, (item, name), near in drawn:
        offset += step % 1000 + 1
        rows.append(LinkRow(offset, ms, session, 1.0, repeat, item, tuple(x for x, _ in near), name))
    return rows


def read(value: bytes) -> list[tuple[object, ...]]:
    """The rows of a message, without the names, as the target sees them."""
    m = decode_links(value)
    hashes = m.hashes.tolist()
    names = dict(zip(hashes, m.names, strict=False))
    near = [hashes[i] for i in m.neighbours.tolist()]
    return [
        LinkRow(
            int(m.offsets[r]),
            int(m.times[r]),
            int(m.sessions[r]),
            float(m.weights[r]),
            bool(m.flags[r] & 1),
            hashes[m.items[r]],
            tuple(near[m.starts[r] : m.starts[r + 1]]),
            names.get(hashes[m.items[r]], ""),
        )
        for r in range(len(m.offsets))
    ]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(ROWS, st.integers(1, 4))
def test_links_survive_the_round_trip(drawn: list, partitions: int) -> None:
    rows = link_rows(drawn)
    messages = dict(encode_links(rows, generation=1, topic_id="T", source=0, item_partitions=partitions))
    for target in range(partitions):
        theirs = [row for row in rows if target in {x % partitions for x in (row.item, *row.neighbours)}]
        named = [row._replace(name=row.name if row.item % partitions == target else "") for row in theirs]
        assert (read(messages[target]) if target in messages else []) == named


def test_links_hold_times_that_need_64_bits_and_more_than_65536_items() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(1, 2**63, 70_000).tolist()
    rows = [
        LinkRow(r, 4_000_000_000_000 - r * 10**7, r, 1.0, False, item, (hashes[r - 1],) if r else (), f"item {r}")
        for r, item in enumerate(hashes)
    ]
    ((_, value),) = encode_links(rows, generation=1, topic_id="T", source=0, item_partitions=1)
    columns = msgspec.msgpack.decode(value)
    assert (len(columns[8]), len(columns[12]), len(columns[13])) == (8 * 70_000, 4 * 70_000, 4 * 69_999)
    assert read(value) == rows


def a_message() -> list[object]:
    rows = [LinkRow(3, 5000, 1, 1.0, False, 10, (), "ten"), LinkRow(5, 6000, 1, 1.0, True, 10, (10, 11), "ten")]
    ((_, value),) = encode_links(rows, generation=1, topic_id="T", source=0, item_partitions=1)
    fields: list[object] = msgspec.msgpack.decode(value)
    return fields


def test_a_message_whose_indices_are_wider_than_they_need_to_be_is_understood() -> None:
    fields = a_message()
    expected = read(msgspec.msgpack.encode(fields))
    for column in (12, 13):
        fields[column] = np.frombuffer(fields[column], "<u2").astype("<u4").tobytes()
    assert read(msgspec.msgpack.encode(fields)) == expected


@pytest.mark.parametrize("column", range(7, 15))
def test_a_message_with_a_column_cut_short_is_bad(column: int) -> None:
    fields = a_message()
    fields[column] = fields[column][:-1]
    with pytest.raises(BadLinksError):
        decode_links(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("value", [None, b"", b"\xc1", b"\x90", b"\x91\x01", b"\x91\xa1a"])
def test_what_is_no_message_is_bad(value: bytes | None) -> None:
    with pytest.raises(BadLinksError):
        decode_links(value)


def test_a_message_whose_base_does_not_fit_is_bad() -> None:
    for column in (5, 6):
        fields = a_message()
        fields[column] = 2**64 - 1
        with pytest.raises(BadLinksError):
            decode_links(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("others", [[], ["a", {}], list(range(30))])
def test_a_message_of_another_version_stops_whatever_its_shape(others: list[object]) -> None:
    with pytest.raises(UnknownVersionError):
        decode_links(msgspec.msgpack.encode([2, *others]))
