"""The launches of one picture on NVIDIA GPUs: project -> sort by depth -> expand to (tile, splat) pairs -> sort by tile -> blend.

Only launches on the current stream, no allocation and no synchronisation: what may change from call to call lies in a table in device memory
(`CallTable`), so that one CUDA graph serves all cameras and all values of one `Task`. Several cameras are drawn as one large picture, whose tiles
are those of all of them. The list of pairs has fixed room; splats that find none are blended last, by every tile, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from recon import kernels
from recon.render.options import Primitive
from recon.spherical_harmonics import degree_of

BLOCK, TILE, DIGITS, KEY_BITS = 256, 16, 256, 24  # as in cuda/render_common.cuh and render_sort.cuh
DEPTH_PASSES = KEY_BITS // 8
PAIRS, DEPTHS, DEPTHS_AGAIN = range(3)  # what is sorted
SORT_ITEMS = 16  # of a thread
LONG_LISTS = 528  # as in cuda/render_common.cuh: blocks that begin with the tiles of long lists
GRID_STRIDE_BLOCKS = 528  # four on each of the H200's 132 processors
COUNTED_KEYS = 8  # of a thread of digit_counts at least: fewer blocks have fewer sums to add (variants in tests/bench/results/render_h100.json)
MAX_ROOM = 2**30 - 1  # pairs, and splats of a group; the sort's counters have 30 bits
LEAST_ROOM = 2**16
SPLATS_AT_ONCE = 2**23  # of a group of cameras that is drawn together: bounds the memory
RECORD_WORDS = {"gaussian": 8, "surfel": 16}
STATUS_WORDS = 4  # int64: see Status in cuda/render_common.cuh
BLENDS = ("blend", "blend_extras", "blend_surfels", "blend_surfels_extras")
PROJECTS = tuple(f"project{kind}_{degree}" for kind in ("", "_packed", "_surfels") for degree in range(5))
NAMES = ("bring_call", *PROJECTS, "digit_counts", "sort_pass", "expand", "expand_surfels", "tile_ranges", *BLENDS)

Launch = Callable[[str, int, Sequence[Any]], None]  # kernel, blocks, arguments


@lru_cache(maxsize=16)
def device_launch(device: int) -> Launch:
    """Starts the renderer's kernels on one device's current stream."""
    functions = kernels.load("render.cu", NAMES, device=device)
    return lambda name, grid, args: kernels.launch(functions[name], grid, BLOCK, args)


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a CUDA graph is made for: sizes and what is drawn, but no values."""

    count: int  # N
    bases: int  # K
    views: int  # C
    width: int
    height: int
    primitive: Primitive = "gaussian"
    antialiased: bool = False
    extras: bool = False
    packed: bool = False

    @property
    def columns(self) -> int:
        return -(-self.width // TILE)

    @property
    def rows(self) -> int:
        return -(-self.height // TILE)

    @cached_property
    def group(self) -> int:
        """Cameras that are drawn together."""
        most = min(SPLATS_AT_ONCE // max(self.count, 1), SPLATS_AT_ONCE // (self.columns * self.rows))
        return max(1, min(self.views, most))

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """First camera and number of cameras of each group."""
        return [(first, min(self.group, self.views - first)) for first in range(0, self.views, self.group)]

    @property
    def first_room(self) -> int:
        """Room for a group's pairs to begin with: real scenes need 2 to 6 a Gaussian."""
        return min(MAX_ROOM, max(self.group * max(4 * self.count, 8 * self.columns * self.rows), LEAST_ROOM))


class Buffers:
    """Working memory of one group of cameras; `zero` is all that must be zero at its start, and lies behind `status`
    [groups, STATUS_WORDS] int64, which is zero at the start of a call: `all_zero` are both."""

    def __init__(self, task: Task, room: int, device: torch.device) -> None:
        self.room = room
        splats, tiles = task.count * task.group, task.columns * task.rows * task.group
        bits = max(1, (tiles - 1).bit_length())
        self.tile_passes = -(-bits // 8)
        self.tile_bits = -(-bits // self.tile_passes)
        empty = lambda *size: torch.empty(*size, dtype=torch.int32, device=device)
        largest = max(splats, room)
        self.records, self.order = empty(max(splats, 1), RECORD_WORDS[task.primitive]), empty(max(splats, 1))
        self.keys, self.values = (empty(largest), empty(largest)), (empty(largest), empty(largest))
        self.normals = empty(max(splats, 1)) if task.extras else None
        parts = [sort_blocks(n) * DIGITS for n in (splats, room)]
        sizes = {
            "expand_progress": 2 * -(-splats // BLOCK), "ranges": 2 * tiles, "tickets": DEPTH_PASSES + 4 + 1,
            "depth_counts": DEPTH_PASSES * DIGITS, "tile_counts": self.tile_passes * DIGITS,
            "depth_progress": DEPTH_PASSES * parts[0], "tile_progress": self.tile_passes * parts[1], "long_tiles": 1 + LONG_LISTS,
        }  # fmt: skip
        status = 2 * STATUS_WORDS * len(task.groups)
        self.all_zero = empty(status + sum(sizes.values()))
        self.status, self.zero = self.all_zero[:status].view(torch.int64).reshape(-1, STATUS_WORDS), self.all_zero[status:]
        pieces = dict(zip(sizes, self.zero.split(list(sizes.values())), strict=True))
        self.expand_progress, self.ranges, self.tickets, self.long_tiles = (pieces[k] for k in ("expand_progress", "ranges", "tickets", "long_tiles"))
        self.depth_counts, self.depth_progress = (pieces[k].reshape(DEPTH_PASSES, -1) for k in ("depth_counts", "depth_progress"))
        self.tile_counts, self.tile_progress = (pieces[k].reshape(self.tile_passes, -1) for k in ("tile_counts", "tile_progress"))

    @staticmethod
    def bytes_needed(task: Task, room: int) -> int:
        """About how much memory they take."""
        splats = task.count * task.group
        return splats * (4 * RECORD_WORDS[task.primitive] + 8) + max(splats, room) * 17 + task.columns * task.rows * task.group * 8


def draw(launch: Launch, task: Task, buffers: Buffers, table: Tensor, told: Tensor | None = None, *, cleared: bool = False) -> None:
    """Starts all pictures of a call; afterwards `buffers.status` tells of each group how many pairs it needed, and what is wrong with the values.

    `told`: page-locked memory of its size, which then holds the same. `cleared`: `buffers.all_zero` is zero already.
    """
    b = buffers
    for number, (first, views) in enumerate(task.groups):
        if number or not cleared:
            (b.zero if number else b.all_zero).zero_()
        status, surfels = b.status[number], "_surfels" if task.primitive == "surfel" else ""
        if task.count:
            _list_splats(launch, task, b, table, (first, views), status)
        tiles = task.columns * task.rows
        early = LONG_LISTS if tiles * views > LONG_LISTS else 0  # where all begin at once none begins late
        launch(
            f"blend{surfels}{'_extras' if task.extras else ''}", early + tiles * views,
            (b.ranges, b.values[b.tile_passes % 2], b.order, b.records, b.normals, table, status, b.long_tiles,
             told[number] if told is not None else None, early, task.count, first, task.width, task.height, task.columns, tiles),
        )  # fmt: skip


def bring(launch: Launch, slots: Tensor, calls: Tensor, table: Tensor, buffers: Buffers) -> None:
    """Brings the next call from its slot [slots, words] to the table, and clears the buffers; `calls` [1] counts."""
    zeros = buffers.all_zero.numel()
    blocks = 1 + min(-(-zeros // (4 * BLOCK)), GRID_STRIDE_BLOCKS)
    launch("bring_call", blocks, (slots, slots.shape[1], slots.shape[0], calls, table, buffers.all_zero, zeros))


def _list_splats(launch: Launch, task: Task, b: Buffers, table: Tensor, cameras: tuple[int, int], status: Tensor) -> None:
    """Everything before blending: leaves the splats of each tile, nearest first, in the buffers."""
    first, views = cameras
    splats, surfels = task.count * views, task.primitive == "surfel"
    kind = "_surfels" if surfels else "_packed" if task.packed else ""
    launch(
        f"project{kind}_{degree_of(task.bases)}", -(-task.count // BLOCK) * views,
        (table, task.count, views, first, task.width, task.height, int(task.antialiased), b.records, b.normals, b.keys[0], status),
    )  # fmt: skip
    _sort(launch, b, splats, status, of_depths=True)
    launch(
        "expand_surfels" if surfels else "expand", -(-splats // BLOCK),
        (b.records, b.order, task.count, task.columns, task.rows, b.room, b.keys[0], b.values[0], b.expand_progress, b.tickets[-1:], status),
    )  # fmt: skip
    _sort(launch, b, b.room, status, of_depths=False)
    launch("tile_ranges", min(-(-b.room // BLOCK), GRID_STRIDE_BLOCKS), (b.keys[b.tile_passes % 2], status, b.ranges, b.long_tiles))


def _sort(launch: Launch, b: Buffers, count: int, status: Tensor, *, of_depths: bool) -> None:
    """Sorts keys[0], back and forth between the two buffers: the depths' numbers to `order`, or the tiles of pairs with values[0]."""
    bits, passes = (8, DEPTH_PASSES) if of_depths else (b.tile_bits, b.tile_passes)
    counts, progress = (b.depth_counts, b.depth_progress) if of_depths else (b.tile_counts, b.tile_progress)
    sorting = DEPTHS if of_depths else PAIRS
    launch("digit_counts", min(-(-count // (BLOCK * COUNTED_KEYS)), GRID_STRIDE_BLOCKS), (b.keys[0], count, sorting, status, bits, passes, counts))
    for p in range(passes):
        source, last = p % 2, of_depths and p == passes - 1
        values = None if of_depths and p == 0 else b.values[source]
        keys_out, values_out = (None, b.order) if last else (b.keys[1 - source], b.values[1 - source])  # sorted depths are not needed any more
        ticket = b.tickets[p if of_depths else DEPTH_PASSES + p :][:1]
        launch(
            "sort_pass", sort_blocks(count),
            (b.keys[source], values, keys_out, values_out, count, sorting, status, p * bits, bits, counts[p], progress[p], ticket),
        )  # fmt: skip
        sorting = DEPTHS_AGAIN if of_depths else PAIRS


def sort_blocks(count: int) -> int:
    """Blocks of a sorting kernel."""
    return -(-count // (BLOCK * SORT_ITEMS))
