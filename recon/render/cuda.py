"""The inference renderer on NVIDIA GPUs: drives the kernels of cuda/render.cu (compiled at run time, see recon.kernels). No gradients.

A picture is 9 to 16 launches on torch's current stream and nothing else: no synchronisation, no allocation that depends on a count. The list of
(tile, splat) pairs has fixed room; what does not fit is counted and dropped, and `render_cuda` looks at the count once at the end and tries again
with more room. `CapturedRenderer` replays the launches as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from recon import kernels
from recon.errors import ReconError
from recon.render.options import RenderOptions
from recon.scene import Cameras, Gaussians, Rendering
from recon.spherical_harmonics import degree_of

BLOCK, TILE, DIGITS, DEPTH_PASSES = 256, 16, 256, 4  # as in cuda/render_common.cuh and render_sort.cuh
SMALL_SORT = 600_000  # elements up to which smaller blocks sort faster, for there are more of them
GRID_STRIDE_BLOCKS = 528  # four on each of the H200's 132 processors
MAX_ROOM = 2**30 - 1  # pairs; the sort's counters have 30 bits
SORTS, BLENDS = ("digit_counts", "sort_pass_4", "sort_pass_16"), ("blend", "blend_extras")
NAMES = (*(f"project_{d}" for d in range(5)), "normals", *SORTS, "expand", "tile_ranges", *BLENDS)

Launch = Callable[[str, int, Sequence[Any]], None]  # kernel, blocks of 256 threads, arguments
_pairs_seen: dict[tuple[int, int, int], int] = {}  # what the last picture of so many Gaussians at that size needed: a hint for the next


def render_cuda(gaussians: Gaussians, cameras: Cameras, options: RenderOptions) -> Rendering:
    """Pictures of Gaussians (float32, on a CUDA device); waits for the GPU once, at the end, to see that all pairs had room."""
    size = (len(gaussians), cameras.width, cameras.height)
    room = _pairs_seen.get(size, 0) * 5 // 4 or first_room(*size)
    with torch.cuda.device(gaussians.means.device):
        while True:
            rendering, pairs = draw(device_launch(gaussians.means.device.index or 0), gaussians, cameras, options, room)
            most = int(pairs.max()) if len(cameras) else 0
            _pairs_seen[size] = most
            if most <= room:
                return rendering
            room = most + most // 16
            if room > MAX_ROOM:
                raise ReconError(f"{size[0]:,} Gaussians touch {most:,} tiles of a picture of {size[1]} x {size[2]}, at most {MAX_ROOM:,} fit")


def first_room(count: int, width: int, height: int) -> int:
    """Room for pairs to begin with: real scenes need 2 to 6 a Gaussian."""
    return max(4 * count, 8 * -(-width // TILE) * -(-height // TILE), 2**16)


@lru_cache(maxsize=16)
def device_launch(device: int) -> Launch:
    """Starts the renderer's kernels on one device's current stream."""
    functions = kernels.load("render.cu", NAMES, device=device)
    return lambda name, grid, args: kernels.launch(functions[name], grid, BLOCK, args)


def draw(launch: Launch, gaussians: Gaussians, cameras: Cameras, options: RenderOptions, room: int) -> tuple[Rendering, Tensor]:
    """Pictures, and how many pairs each camera needed [C] int64: a picture whose count is above `room` is incomplete.

    Only launches: can be captured in a CUDA graph.
    """
    like, count, views, height, width = gaussians.means, len(gaussians), len(cameras), cameras.height, cameras.width
    extras = bool(options.extras)
    picture = lambda *channels: torch.empty(views, height, width, *channels, dtype=torch.float32, device=like.device)
    color, depth, alpha, median, normals = picture(3), picture(), picture(), picture() if extras else None, picture(3) if extras else None
    pairs = torch.zeros(views, dtype=torch.int64, device=like.device)
    K, pose = cameras.K.to(like).contiguous(), cameras.cam_to_world.to(like).contiguous()
    background = like.new_zeros(views, 3) if options.background is None else options.background.to(like).contiguous()
    inputs = [_aligned(x) for x in (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.sh)]
    buffers = _Buffers(count, room, -(-width // TILE) * -(-height // TILE), extras, like.device)
    columns, rows = -(-width // TILE), -(-height // TILE)
    for c in range(views):
        buffers.zero.zero_()
        if count:
            _list_pairs(launch, buffers, inputs, (K[c], pose[c]), (width, height, columns, rows), options, pairs[c : c + 1])
        order = buffers.values[1 - buffers.tile_passes % 2] if count else None
        launch(
            "blend_extras" if extras else "blend", columns * rows,
            (buffers.ranges, order, buffers.records, buffers.normals, background[c], width, height, columns, color[c], depth[c], alpha[c],
             median[c] if median is not None else None, normals[c] if normals is not None else None),
        )  # fmt: skip
    rendering = Rendering(
        color=color, depth=depth, alpha=alpha,
        median_depth=median if "median_depth" in options.extras else None, normals=normals if "normals" in options.extras else None,
    )  # fmt: skip
    return rendering, pairs


def _list_pairs(launch: Launch, b: _Buffers, inputs: list[Tensor], camera: tuple[Tensor, Tensor], size: tuple[int, int, int, int],
                options: RenderOptions, pairs: Tensor) -> None:  # fmt: skip
    """Everything before blending: leaves the splats of each tile, nearest first, in the buffers."""
    count, (width, height, columns, rows), (means, quats, scales, _, sh) = b.count, size, inputs
    blocks = -(-count // BLOCK)
    launch(
        f"project_{degree_of(sh.shape[1])}", blocks,
        (*inputs, count, *camera, width, height, int(options.antialiased), options.near, options.far, float(options.radius_clip),
         b.records, b.keys[0], b.visible),
    )  # fmt: skip
    if b.normals is not None:
        launch("normals", blocks, (means, quats, scales, count, camera[1], b.normals))
    _sort(launch, b, 0, count, None, DIGITS.bit_length() - 1, DEPTH_PASSES, b.depth_counts, b.depth_status)
    listed = (b.room, b.keys[1], b.values[1], b.expand_status, b.tickets[-1:], pairs)
    launch("expand", blocks, (b.records, b.values[0], b.visible, columns, rows, *listed))
    _sort(launch, b, 1, b.room, pairs, b.tile_bits, b.tile_passes, b.tile_counts, b.tile_status)
    launch("tile_ranges", min(-(-b.room // BLOCK), GRID_STRIDE_BLOCKS), (b.keys[1 - b.tile_passes % 2], b.room, pairs, b.ranges))


def _sort(launch: Launch, b: _Buffers, source: int, room: int, counted: Tensor | None, bits: int, passes: int, counts: Tensor,
          status: Tensor) -> None:  # fmt: skip
    """Sorts keys[source] with values[source], or without values their numbers (counted None), back and forth between the two buffers."""
    items = items_for(room)
    blocks = -(-room // (BLOCK * items))
    launch("digit_counts", min(-(-room // BLOCK), GRID_STRIDE_BLOCKS), (b.keys[source], room, counted, bits, passes, counts))
    for p in range(passes):
        values = None if counted is None and p == 0 else b.values[source]
        keys_out = None if counted is None and p == passes - 1 else b.keys[1 - source]  # the depths are not needed any more
        ticket = b.tickets[p : p + 1] if counted is None else b.tickets[DEPTH_PASSES + p :]
        launch(
            f"sort_pass_{items}", blocks,
            (b.keys[source], values, keys_out, b.values[1 - source], room, counted, p * bits, bits, counts[p], status[p], ticket[:1]),
        )  # fmt: skip
        source = 1 - source


def items_for(room: int) -> int:
    """Elements of each thread of a sorting kernel."""
    return 4 if room <= SMALL_SORT else 16


def _aligned(x: Tensor) -> Tensor:
    """The same values, contiguous and on 16 bytes as the kernels' vector loads want."""
    x = x.detach().contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()


class _Buffers:
    """Working memory of one picture; `zero` is all that must be zero at the start, in one piece."""

    def __init__(self, count: int, room: int, tiles: int, extras: bool, device: torch.device) -> None:
        self.count, self.room = count, room
        bits = max(1, (tiles - 1).bit_length())
        self.tile_passes = -(-bits // 8)
        self.tile_bits = -(-bits // self.tile_passes)
        empty = lambda *size: torch.empty(*size, dtype=torch.int32, device=device)
        largest = max(count, room)
        self.records = empty(max(count, 1), 8)
        self.keys, self.values = (empty(largest), empty(largest)), (empty(largest), empty(largest))
        self.normals = torch.empty(max(count, 1), 3, dtype=torch.float32, device=device) if extras else None
        parts = [-(-n // (BLOCK * items_for(n))) * DIGITS for n in (count, room)]
        sizes = {
            "expand_status": 2 * -(-count // BLOCK), "ranges": 2 * tiles, "visible": 1, "tickets": DEPTH_PASSES + 4 + 1,
            "depth_counts": DEPTH_PASSES * DIGITS, "tile_counts": self.tile_passes * DIGITS,
            "depth_status": DEPTH_PASSES * parts[0], "tile_status": self.tile_passes * parts[1],
        }  # fmt: skip
        self.zero = empty(sum(sizes.values()))
        pieces = dict(zip(sizes, self.zero.split(list(sizes.values())), strict=True))
        self.expand_status, self.ranges, self.visible, self.tickets = (pieces[k] for k in ("expand_status", "ranges", "visible", "tickets"))
        self.depth_counts, self.depth_status = (pieces[k].reshape(DEPTH_PASSES, -1) for k in ("depth_counts", "depth_status"))
        self.tile_counts, self.tile_status = (pieces[k].reshape(self.tile_passes, -1) for k in ("tile_counts", "tile_status"))


class CapturedRenderer:
    """The renderer as one CUDA graph for many pictures of one scene from cameras of one size: a call copies the cameras and replays.

    Pictures are overwritten by the next call. Nothing waits for the GPU; `complete()` does, and says whether all pairs had room.
    """

    def __init__(self, gaussians: Gaussians, cameras: Cameras, options: RenderOptions, *, room: int | None = None) -> None:
        device = gaussians.means.device
        self.cameras, self.gaussians, self.options = cameras.to(device), gaussians, options
        with torch.cuda.device(device):
            render_cuda(gaussians, self.cameras, options)  # compiles, warms up and learns how much room is needed
            size = (len(gaussians), cameras.width, cameras.height)
            self.room = room or max(_pairs_seen[size] * 3 // 2, 2**16)
            self._K, self._pose = self.cameras.K.float().clone(), self.cameras.cam_to_world.float().clone()
            placed = Cameras(K=self._K, cam_to_world=self._pose, width=cameras.width, height=cameras.height)
            launch = device_launch(device.index or 0)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self.rendering, self.pairs = draw(launch, gaussians, placed, options, self.room)

    def __call__(self, cameras: Cameras | None = None) -> Rendering:
        """The picture of other cameras of the same number and size (default: the last ones)."""
        if cameras is not None:
            wanted, got = ((len(c), c.width, c.height) for c in (self.cameras, cameras))
            if wanted != got:
                raise ReconError(f"captured for cameras (number, width, height) {wanted}, got {got}")
            self._K.copy_(cameras.K)
            self._pose.copy_(cameras.cam_to_world)
        self._graph.replay()
        return self.rendering

    def complete(self) -> bool:
        """Whether the last picture had room for all pairs (waits for it); if not, make a new one with more `room`."""
        return int(self.pairs.max()) <= self.room
