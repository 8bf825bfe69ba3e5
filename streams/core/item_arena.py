"""The items of one partition in memory: packed arrays for the kernel, and their packed bytes in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from streams.core import kernel
from streams.core.item_state import HEAD_BYTES, ROWS_MAX, VERSION, decode_item, padded
from streams.core.links import NEIGHBOURS_MAX, LinkMessage
from streams.core.policy import LearningPolicy

GROWTH_SEEN = 1.03  # below this an item's similarities have hardly moved
_BLOCK_ROWS_AT_MOST = sum(kernel.SMALLEST_BLOCK << c for c in range(kernel.CLASSES))  # one item through every class
assert kernel.CAP == ROWS_MAX


class ItemArena:
    """Items by hash. Changed in place by `apply`; whoever cannot commit what it did must drop the arena."""

    def __init__(self, policy: LearningPolicy, slots: int = 1024) -> None:
        self._params = np.array(
            [
                policy.count_half_life_s,
                policy.recency_half_life_s,
                policy.backward_recency,
                policy.item_horizon_s,
                *(policy.gap_decay**step for step in range(NEIGHBOURS_MAX)),
            ]
        )
        self.slot_of: dict[int, int] = {}
        self._names: list[bytes] = []
        self._free_slots: list[int] = []
        self._ints = np.zeros((slots, kernel.INTS), np.int64)
        self._sums = np.zeros((slots, kernel.SUMS), np.float64)
        self._table = np.zeros((slots * 16, kernel.WORDS), np.uint32)
        self._free = np.full(kernel.CLASSES, -1, np.int64)
        self._top = np.zeros(1, np.int64)
        self._seen = np.zeros(slots, np.float64)
        self._clock = 0

    def __len__(self) -> int:
        return len(self.slot_of)

    def missing(self, hashes: Iterable[int]) -> list[int]:
        """Those that are not in memory."""
        return [item for item in hashes if item not in self.slot_of]

    def put(self, item: int, data: bytes | None) -> None:
        """Bring an item into memory, from its packed bytes or as a new one."""
        slot = self._new_slot()
        self.slot_of[item] = slot
        if data is None:
            return
        state = decode_item(data)
        head, n = state.head, state.head.rows
        self._names[slot] = data[HEAD_BYTES : HEAD_BYTES + head.name_bytes]
        self._ints[slot, kernel.EPOCH :] = (head.epoch, head.events, head.repeats, head.last, self._clock)
        self._sums[slot] = (head.degree, head.recent_degree, head.out_next, head.out_forward, head.out_backward)
        if n:
            size_class = max(0, (n - 1).bit_length() - 2)
            self._make_rows(kernel.SMALLEST_BLOCK << size_class)
            block = int(kernel.allocate(self._free, self._top, self._table, size_class))
            start = HEAD_BYTES + padded(head.name_bytes)
            words = np.frombuffer(data, "<u4", n * kernel.WORDS, start)
            self._table[block : block + n] = words.reshape(n, kernel.WORDS)
            self._ints[slot, kernel.ROWS : kernel.EPOCH] = (n, size_class, block)

    def apply(self, message: LinkMessage, mark: int, owned: Mapping[int, int]) -> int:
        """Apply a message's rows above `mark`; how many they were.

        owned  index in message.hashes -> item hash, for every item of the message that this partition owns; all of them
               are in memory
        """
        slots = np.full(len(message.hashes), -1, np.int64)
        for index, item in owned.items():
            slot = self.slot_of[item]
            slots[index] = slot
            if index < len(message.names) and not self._names[slot]:
                self._names[slot] = message.names[index].encode()
        self._clock += 1
        mine = slots[slots >= 0]
        self._ints[mine, kernel.TOUCHED] = self._clock
        self._make_rows(len(mine) * _BLOCK_ROWS_AT_MOST)
        applied = kernel.apply_rows(
            mark,
            message.offsets,
            message.times // 1000,
            message.weights,
            message.flags,
            message.items,
            message.neighbours,
            message.starts,
            message.hashes,
            slots,
            self._params,
            self._ints,
            self._sums,
            self._table,
            self._free,
            self._top,
        )
        return int(applied)

    def grown(self, items: Sequence[int]) -> list[int]:
        """Those whose counts grew by 3 % since they were last named here: what depends on them is worth deriving anew.

        An item that was just brought into memory counts as grown.
        """
        slots = np.array([self.slot_of[item] for item in items], np.int64)
        mass = self._sums[slots][:, [kernel.DEGREE, kernel.OUT_FORWARD, kernel.OUT_BACKWARD]].sum(axis=1)
        seen = self._seen[slots]
        new = (mass > seen * GROWTH_SEEN) | (mass < seen)  # less: its landmark moved, or it began anew
        self._seen[slots[new]] = mass[new]
        return [item for item, is_new in zip(items, new.tolist(), strict=True) if is_new]

    def pack(self, items: Sequence[int]) -> list[bytes]:
        """The packed bytes of some items in memory, in order."""
        chosen = np.array([self.slot_of[item] for item in items], np.int64)
        names = [self._names[slot] for slot in chosen.tolist()]
        sizes = np.array([len(name) for name in names], np.int64)
        words = kernel.HEAD_WORDS * len(items) + int(self._ints[chosen, kernel.ROWS].sum()) * kernel.WORDS
        out, ends = np.empty(words, np.uint32), np.empty(len(items), np.int64)
        kernel.pack(chosen, sizes, VERSION, self._ints, self._sums, self._table, out, ends)
        raw = out.tobytes()
        packed, start = [], 0
        for name, end in zip(names, (ends * 4).tolist(), strict=True):
            body = start + HEAD_BYTES
            packed.append(raw[start:body] + name + bytes(-len(name) % 4) + raw[body:end])
            start = end
        return packed

    def shrink(self, most: int) -> None:
        """Forget the items touched longest ago until at most `most` remain. Only between commits: all must be clean."""
        surplus = len(self.slot_of) - most
        if surplus <= 0:
            return
        slots = np.fromiter(self.slot_of.values(), np.int64, len(self.slot_of))
        oldest = slots[np.argpartition(self._ints[slots, kernel.TOUCHED], surplus - 1)[:surplus]]
        doomed = set(oldest.tolist())
        self.slot_of = {item: slot for item, slot in self.slot_of.items() if slot not in doomed}
        for slot in doomed:
            if self._ints[slot, kernel.CLASS] >= 0:
                kernel.release(self._free, self._table, self._ints[slot, kernel.BLOCK], self._ints[slot, kernel.CLASS])
            self._names[slot] = b""
            self._free_slots.append(slot)

    def _new_slot(self) -> int:
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = len(self._names)
            self._names.append(b"")
            if slot == len(self._ints):
                self._ints = np.concatenate([self._ints, np.zeros_like(self._ints)])
                self._sums = np.concatenate([self._sums, np.zeros_like(self._sums)])
                self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
        self._ints[slot] = 0
        self._ints[slot, kernel.CLASS] = -1
        self._ints[slot, kernel.TOUCHED] = self._clock
        self._sums[slot] = 0.0
        self._seen[slot] = 0.0
        return slot

    def _make_rows(self, rows: int) -> None:
        """Room for `rows` more table rows, so that the kernel never has to grow anything."""
        need = int(self._top[0]) + rows
        if need > len(self._table):
            grown = np.zeros((max(need, 2 * len(self._table)), kernel.WORDS), np.uint32)
            grown[: len(self._table)] = self._table
            self._table = grown
