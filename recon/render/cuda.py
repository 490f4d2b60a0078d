"""The inference renderer on NVIDIA GPUs: pictures by the kernels of cuda/render.cu (compiled at run time, see recon.kernels). No gradients.

The first call of a size draws launch by launch and waits, to learn how many (tile, splat) pairs there are; from the second on a CUDA graph does all
of it (`recon.render.cuda_plans`). What is wrong with the values is seen by the kernels, as they read them anyway; then `recon.render.checks` tells.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from recon.errors import ReconError
from recon.render.checks import Unchanged, check_cameras, check_gaussians, check_memory, check_sides
from recon.render.cuda_draw import MAX_ROOM, Buffers, Task, device_launch, draw
from recon.render.cuda_plans import PLANS, Plans, read_status
from recon.render.cuda_table import Inputs, Packed, empty_picture, fill_table, only_asked, table_words, tensors_of
from recon.render.options import RenderOptions
from recon.scene import Cameras, Gaussians, Rendering

FLOAT = torch.float32
_right = Unchanged()  # tensors whose values were looked at and are right


def render_cuda(
    source: Gaussians | Packed, cameras: Cameras, options: RenderOptions, *, check: bool = False, plans: Plans = PLANS
) -> Rendering:  # fmt: skip
    """Pictures of float32 (or packed) Gaussians on a CUDA device; cameras and background there or in main memory.

    Waits for the GPU in the first call of a size and, with `check`, for values that it has not seen before; raises ReconError for wrong ones.
    """
    drawn = draw_again(source, cameras, options, check, plans)
    if drawn is not None:
        return drawn
    inputs = Inputs.of(source, cameras, options)
    device, task = inputs.tensors[0].device, task_of(source, cameras, options)
    if not len(cameras):
        return only_asked(empty_picture(0, cameras.height, cameras.width, task.extras, device), options)
    if torch.cuda.is_current_stream_capturing():
        raise ReconError("recon.render cannot become part of a CUDA graph: it keeps graphs of its own; call it outside of the capture")
    values = _values(source, cameras) if check else []
    new = bool(values) and not _right.are(values)
    if check:
        (check_sides if cameras.K.is_cuda and cameras.cam_to_world.is_cuda else check_cameras)(cameras)
    with torch.cuda.device(device):
        plan = plans.get(device, task, inputs, options)
        drawn = plan.draw(inputs, options, wait=new) if plan is not None else None
        if drawn is None:
            if check and isinstance(source, Gaussians):
                check_memory("cuda", source, cameras)
            drawn = draw_once(device, task, inputs, options, plans)
    picture, flags = drawn
    if new:
        if flags:  # the kernels' suspicion: these look again and say what is wrong
            check_cameras(cameras)
            if isinstance(source, Gaussians):
                check_gaussians(source)
        _right.remember(values)
    return only_asked(picture, options)


def draw_again(
    source: Gaussians | Packed, cameras: Cameras, options: RenderOptions, check: bool, plans: Plans = PLANS
) -> Rendering | None:  # fmt: skip
    """The short way for what was drawn just before, with other cameras perhaps; None for what is to go the long way. Gradients are not looked at."""
    plan = plans.last
    call = plan.call if plan is not None else None
    if plan is None or call is None or options is not call.options or source is not call.source():
        return None
    K, T, task = cameras.K, cameras.cam_to_world, plan.task
    place, tensors = K.get_device(), tensors_of(source)
    if not (
        cameras.width == task.width and cameras.height == task.height and K.shape[0] == task.views and place == call.cameras_on == T.get_device()
        and K.dtype is FLOAT and T.dtype is FLOAT and K.is_contiguous() and T.is_contiguous()
        and [x.data_ptr() for x in tensors] == call.addresses and current_device() == plan.index and current_stream(plan.index) == call.stream
    ):  # fmt: skip
        return None
    if check:
        values = tensors if isinstance(source, Gaussians) else ()
        if not _right.are(values if call.cameras_in_row else (*values, K, T)):
            return None
        (check_cameras if call.cameras_in_row else check_sides)(cameras)
    if call.stream and torch.cuda.is_current_stream_capturing():
        return None
    picture = plan.draw_again(call, cameras)
    return only_asked(picture, options) if picture is not None else None


def current_device() -> int:
    return torch.cuda.current_device()


def current_stream(device: int) -> int:
    """The handle alone: an object around it takes longer than all else that is asked before a picture."""
    return torch._C._cuda_getCurrentRawStream(device)


def _values(source: Gaussians | Packed, cameras: Cameras) -> list[torch.Tensor]:
    """What the kernels look at: tensors on the device."""
    of_source = list(tensors_of(source)) if isinstance(source, Gaussians) else []
    return of_source + [x for x in (cameras.K, cameras.cam_to_world) if x.is_cuda]


def task_of(source: Gaussians | Packed, cameras: Cameras, options: RenderOptions) -> Task:
    """The sizes of a call."""
    bases = source.bases if isinstance(source, Packed) else source.sh.shape[1]
    return _task(
        count=len(source), bases=bases, views=len(cameras), width=cameras.width, height=cameras.height, primitive=options.primitive,
        antialiased=options.antialiased, extras=bool(options.extras), packed=isinstance(source, Packed),
    )  # fmt: skip


_task = lru_cache(maxsize=64)(Task)  # made for every picture, and the same one is found faster among the plans


def draw_once(device: torch.device, task: Task, inputs: Inputs, options: RenderOptions, plans: Plans) -> tuple[Rendering, int]:
    """Pictures drawn launch by launch with memory that is given back, and what the kernels found wrong; waits, again with more room if it must."""
    picture = empty_picture(task.views, task.height, task.width, task.extras, device)
    host = np.zeros(table_words(task.views), np.int64)
    table = torch.empty(len(host), dtype=torch.int64, device=device)
    fill_table(host, table.data_ptr(), inputs, picture, options)
    table.copy_(torch.from_numpy(host))
    room = plans.room(device, task)
    while True:
        buffers = Buffers(task, room, device)
        draw(device_launch(device.index or 0), task, buffers, table)
        pairs, flags = read_status(buffers.status.cpu().numpy())
        plans.seen(device, task, pairs)
        if pairs <= room:
            return picture, flags
        if pairs > MAX_ROOM:
            raise ReconError(f"{task.count:,} Gaussians touch {pairs:,} tiles of a picture of {task.width} x {task.height}, at most {MAX_ROOM:,} fit")
        room = min(MAX_ROOM, pairs + pairs // 16)
