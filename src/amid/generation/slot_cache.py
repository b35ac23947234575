"""A key-value cache with a fixed number of row slots, where rows come and go while the others keep decoding.

Shapes: S slots, H key-value heads, C columns of capacity, D head size, R rows in use.
Each layer holds [S, H, C, D]. Rows 0 .. R-1 are in use; all of them end in the same column, `end`, and a short row is
preceded by columns that its attention mask hides: ordinary left padding, in which a step writes one column in place.
`DynamicCache` instead copies all keys and values on every step and every time a row leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

SPARE_COLUMNS = 64  # allocated beyond those in use, so that the whole cache moves at most once in so many steps


@dataclass
class Window:
    """Which slots and columns are in use, and which the current forward pass writes; shared by all layers."""

    num_slots: int
    num_rows: int = 0
    start: int = 0  # columns start .. end-1 are in use
    end: int = 0
    capacity: int = 0
    first_written_row: int = 0
    written_columns: int = 1
    prefill: bool = True


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer of the model."""

    is_sliding = False

    def __init__(self, window: Window) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.window = window
        self.stores: list[Tensor] = []  # keys, values: each [S, H, C, D]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate, once the sizes are known."""
        self.stores = [self._allocate(states) for states in (key_states, value_states)]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values to attend to, [rows, H, columns, D], the new ones included.

        A prefill attends to its own columns only: its rows have no past.
        """
        if not self.stores:
            self.lazy_initialization(key_states, value_states)
        now = self.window
        rows = slice(now.first_written_row, now.num_rows)
        first = now.end - now.written_columns
        for store, states in zip(self.stores, (key_states, value_states), strict=True):
            store[rows, :, first : now.end] = states
        if now.prefill:
            return key_states, value_states
        keys, values = (store[rows, :, now.start : now.end] for store in self.stores)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of columns the mask covers, and the index of the first of them."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Number of columns before those the current forward pass writes."""
        return 0 if self.window.prefill else self.window.end - self.window.start - self.window.written_columns

    def get_max_length(self) -> int:
        """-1: the cache grows."""
        return -1

    def move_columns(self, *, old: slice, new: slice) -> None:
        """Take the columns in use to another place, into new storage if the capacity has changed."""
        self.stores = [self._moved(store, old=old, new=new) for store in self.stores]

    def move_row(self, *, source: int, target: int) -> None:
        """Copy one row's columns in use to another slot."""
        columns = slice(self.window.start, self.window.end)
        for store in self.stores:
            store[target, :, columns] = store[source, :, columns]

    def _moved(self, store: Tensor, *, old: slice, new: slice) -> Tensor:
        used = store[: self.window.num_rows, :, old]
        if store.shape[2] == self.window.capacity:
            used = used.clone()  # the two places may overlap
        else:
            store = self._allocate(store)
        store[: self.window.num_rows, :, new] = used
        return store

    def _allocate(self, like: Tensor) -> Tensor:
        # zeros, because a hidden column still takes part as 0 * value, and fresh memory may hold nan
        return like.new_zeros(self.window.num_slots, like.shape[1], self.window.capacity, like.shape[3])


class SlotCache(Cache):
    """The layers' cache as `transformers` models expect it, plus the operations of a batch that changes.

    Call `add_rows` before the forward pass over new prompts, `add_column` before a decoding step, `drop_rows` after
    rows have ended. Layers with a sliding window are stored in full; the model's mask restricts what they see.
    """

    def __init__(self, *, num_slots: int) -> None:
        super().__init__(layers=[])
        self.window = Window(num_slots=num_slots)
        self.slot_layers: list[SlotLayer] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer to attend to; layers appear at their first update."""
        while len(self.slot_layers) <= layer_idx:
            self.slot_layers.append(SlotLayer(self.window))
            self.layers.append(self.slot_layers[-1])
        return self.slot_layers[layer_idx].update(key_states, value_states)

    def add_rows(self, *, num_rows: int, width: int) -> None:
        """Prepare slots for the forward pass over `num_rows` prompts, left-padded to `width` columns."""
        now = self.window
        if now.num_rows == 0:
            now.start = now.end
        in_use = now.end - now.start
        if now.end < width:
            self._move_columns(start=max(width - in_use, 0), capacity=max(now.capacity, width + SPARE_COLUMNS))
        now.start = min(now.start, now.end - width)
        now.first_written_row = now.num_rows
        now.num_rows += num_rows
        now.written_columns = width
        now.prefill = True

    def add_column(self, *, longest: int) -> None:
        """Prepare the forward pass over one new token of every row; `longest` is the longest row with that token."""
        now = self.window
        now.start = now.end + 1 - longest  # columns that no row needs any more cost nothing
        if now.end == now.capacity:
            self._move_columns(start=0, capacity=max(now.capacity, longest + max(SPARE_COLUMNS, longest // 2)))
        now.end += 1
        now.first_written_row = 0
        now.written_columns = 1
        now.prefill = False

    def drop_rows(self, keep: Sequence[bool]) -> list[int]:
        """Old index of each row that stays, in its new order; the last rows move into the slots that became free."""
        order = list(range(self.window.num_rows))
        for row in reversed([index for index, kept in enumerate(keep) if not kept]):
            last = len(order) - 1
            if row != last:
                for layer in self.slot_layers:
                    layer.move_row(source=last, target=row)
                order[row] = order[last]
            order.pop()
        self.window.num_rows = len(order)
        return order

    def _move_columns(self, *, start: int, capacity: int) -> None:
        now = self.window
        in_use = now.end - now.start
        old = slice(now.start, now.end)
        now.start, now.end, now.capacity = start, start + in_use, capacity
        for layer in self.slot_layers:
            layer.move_columns(old=old, new=slice(now.start, now.end))
