"""CUDA graphs of the renderer, kept: one for each device and `Task`, a few at a time, within a share of the device's memory.

A graph's working memory is its own; what a call brings, the graph itself copies from page-locked memory into its table (`recon.render.cuda_table`),
so that neither other cameras nor other values make a new graph. Calls of several threads and streams take turns.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from ctypes import memmove

import numpy as np
import torch
from torch import Tensor

from recon.render import cuda_draw
from recon.render.cuda_draw import MAX_ROOM, STATUS_WORDS, Buffers, Task, bring, device_launch, draw
from recon.render.cuda_table import Inputs, again_in_row, empty_picture, fill_table, table_words, tensors_of
from recon.render.options import RenderOptions
from recon.scene import Cameras, Rendering

MOST_PLANS, MOST_SEEN = 8, 256
MEMORY_SHARE = 4  # plans hold at most this part of a device's memory
CALLS_AHEAD, CALLS_AN_EVENT = 64, 16  # that the host may be ahead of the GPU; after how many it marks the place

log = logging.getLogger(__name__)
Key = tuple[int, Task]


def read_status(status: np.ndarray) -> tuple[int, int]:
    """Most pairs that a group of cameras needed, and the flags of all, from [groups, STATUS_WORDS] int64 (`struct Status`)."""
    return int(status[:, 0].max()), int(np.bitwise_or.reduce(status[:, 2] >> 32))


def page_locked(*size: int) -> Tensor:
    """Zeros (int64) in main memory that a GPU copies from and to while the host goes on."""
    return torch.zeros(*size, dtype=torch.int64, pin_memory=True)


def captured(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Does `work` once and makes a CUDA graph of it: the graph's launch in the current stream."""
    graph, side, current = torch.cuda.CUDAGraph(), torch.cuda.Stream(device), torch.cuda.current_stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        work()  # loads what is loaded lazily
        side.synchronize()
        graph.capture_begin(capture_error_mode="thread_local")  # other threads may do as they like
        try:
            work()
        finally:
            graph.capture_end()
    current.wait_stream(side)
    return graph.replay


class Call:
    """What stays when the call that a plan drew last is made again with other cameras. Keeps no Gaussians alive."""

    def __init__(self, inputs: Inputs, options: RenderOptions, stream: int) -> None:
        self.options, self.stream, self.source = options, stream, weakref.ref(inputs.source)
        self.addresses, self.cameras_on = [x.data_ptr() for x in inputs.tensors], inputs.K.get_device()
        self.cameras_in_row = inputs.K.device != inputs.tensors[0].device  # not their addresses

    @staticmethod
    def of(inputs: Inputs, options: RenderOptions, stream: int) -> Call | None:
        """None for Gaussians that had to be copied, and for cameras of which half lies in main memory."""
        own = all([a is b for a, b in zip(inputs.tensors, tensors_of(inputs.source), strict=True)])
        return Call(inputs, options, stream) if own and inputs.K.get_device() == inputs.cam_to_world.get_device() else None


class Plan:
    """One graph with its memory; made with the call that asks for it, whose tensors it does not keep."""

    def __init__(self, device: torch.device, task: Task, room: int, inputs: Inputs, options: RenderOptions) -> None:
        self.task, self.device, self.room = task, device, room
        self.index = device.index or 0
        self.call: Call | None = None  # whose words are in `_row`
        self.retired, self._stream, self._lock = False, None, threading.Lock()
        launch = device_launch(self.index)
        with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode could not be written to outside of it
            words = table_words(task.views)
            self._buffers = Buffers(task, room, device)
            self._table, calls = torch.empty(words, dtype=torch.int64, device=device), torch.zeros(1, dtype=torch.int32, device=device)
            status, slots = page_locked(max(1, len(task.groups)), STATUS_WORDS), page_locked(CALLS_AHEAD, words)
            self._told, self._held, self._slots = status.numpy(), (status, slots, calls), slots.data_ptr()
            self._row = np.zeros(words, np.int64)
            self._bytes, self._row_address, self._row_bytes = 8 * words, self._row.ctypes.data, self._row.data.cast("B")
            self._last, self._done = torch.cuda.Event(), [torch.cuda.Event() for _ in range(CALLS_AHEAD // CALLS_AN_EVENT)]

            def work() -> None:
                bring(launch, slots, calls, self._table, self._buffers)
                draw(launch, task, self._buffers, self._table, status, cleared=True)

            scratch = empty_picture(task.views, task.height, task.width, task.extras, device)  # to draw to before it is captured
            fill_table(slots.numpy()[0], self._table.data_ptr(), inputs, scratch, options)
            self._replay = captured(work, device)
            self._calls = 1  # as `calls` on the device: those that `bring_call` has copied

    def __del__(self) -> None:
        self.retire()  # the GPU still reads and writes what goes with this

    @property
    def bytes_held(self) -> int:
        return Buffers.bytes_needed(self.task, self.room)

    @property
    def outgrown(self) -> bool:
        """Whether a picture that is done had more pairs than room (and was slow, not wrong)."""
        return self.pairs > self.room < MAX_ROOM

    @property
    def pairs(self) -> int:
        """What the last picture that is done needed."""
        return int(self._told[0, 0]) if len(self._told) == 1 else read_status(self._told)[0]

    def draw(self, inputs: Inputs, options: RenderOptions, *, wait: bool) -> tuple[Rendering, int] | None:
        """Pictures, in the current stream, and with `wait` what the kernels found wrong (else 0); None from a plan that was given up."""
        picture = empty_picture(self.task.views, self.task.height, self.task.width, self.task.extras, self.device)
        with self._lock:
            if self.retired:
                return None
            stream = torch.cuda.current_stream(self.device)
            if self._stream is not None and self._stream != stream:
                self._mark_last()
                stream.wait_event(self._last)
            self._stream = stream
            fill_table(self._row, self._table.data_ptr(), inputs, picture, options)
            self.call = Call.of(inputs, options, stream.cuda_stream)
            self._start(stream.cuda_stream)
            if not wait:
                return picture, 0
            stream.synchronize()
            return picture, read_status(self._told)[1]

    def draw_again(self, call: Call, cameras: Cameras) -> Rendering | None:
        """Pictures by `call` with other cameras, float32, contiguous, and where those of the call were; the call's stream must be the current one.

        None if there was another call since, or for what else is not as it was. The GPU stands still while this works.
        """
        picture = empty_picture(self.task.views, self.task.height, self.task.width, self.task.extras, self.device)
        with self._lock:
            if self.call is not call or self.retired or self.outgrown:
                return None
            again_in_row(self._row_bytes, self._row_address, picture, cameras, call.cameras_in_row)
            self._start(call.stream)
        return picture

    def _start(self, stream: int) -> None:
        """Starts the graph, in the current stream, with the call in `_row`."""
        slot = self._calls % CALLS_AHEAD
        part, place = divmod(slot, CALLS_AN_EVENT)
        if place == 0:
            self._done[part].synchronize()  # until the pictures that these slots were for are done
        memmove(self._slots + slot * self._bytes, self._row_address, self._bytes)
        self._replay()
        self._calls += 1
        if place == CALLS_AN_EVENT - 1:
            self._done[part].record()
        if stream:  # streams of the caller's, who may do away with them
            self._last.record()

    def _mark_last(self) -> None:
        """Sets `_last` to when the last picture is done."""
        if self._stream is not None and not self._stream.cuda_stream:
            self._last.record(self._stream)

    def retire(self) -> None:
        """Waits until the last picture is done and lets nobody draw any more, so that the memory may go."""
        with self._lock:
            self.retired = True
            if self._stream is not None:
                self._mark_last()
                self._last.synchronize()


class Plans:
    """A bounded cache of plans, the least recently used given up first."""

    def __init__(self, most: int = MOST_PLANS) -> None:
        self.most = most
        self._plans: OrderedDict[Key, Plan] = OrderedDict()
        self._pairs: OrderedDict[Key, int] = OrderedDict()  # what the last picture of a task needed
        self.last: Plan | None = None  # that was asked for
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._plans)

    def seen(self, device: torch.device, task: Task, pairs: int) -> None:
        """Remembers how many pairs a task needs: the next call may have a plan."""
        with self._lock:
            self._remember((device.index, task), pairs)

    def room(self, device: torch.device, task: Task) -> int:
        """Room for pairs to begin a picture with."""
        with self._lock:
            pairs = self._pairs.get((device.index, task), 0)
        return min(MAX_ROOM, pairs * 5 // 4) or task.first_room

    def get(self, device: torch.device, task: Task, inputs: Inputs, options: RenderOptions) -> Plan | None:
        """The task's plan, made now if its first call was before; None for a first call and where there is too little memory."""
        key = (device.index, task)
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None and not plan.outgrown:
                self._plans.move_to_end(key)
                self.last = plan
                return plan
            if plan is not None:
                self._remember(key, plan.pairs)
                self._give_up(key)
            if key not in self._pairs:
                return None
            room = min(MAX_ROOM, max(self._pairs[key] * 3 // 2, cuda_draw.LEAST_ROOM))
            if not self._make_space(device, Buffers.bytes_needed(task, room)):
                return None
            try:
                self._plans[key] = self.last = Plan(device, task, room, inputs, options)
            except torch.OutOfMemoryError:
                log.info("no memory for a graph of %s: drawn launch by launch", task)
                for other in list(self._plans):
                    self._give_up(other)
                return None
            return self._plans[key]

    def clear(self) -> None:
        """Gives up all plans; their memory goes back to torch's allocator."""
        with self._lock:
            for key in list(self._plans):
                self._give_up(key)
            self._pairs.clear()

    def _remember(self, key: Key, pairs: int) -> None:
        self._pairs[key] = pairs
        self._pairs.move_to_end(key)
        while len(self._pairs) > MOST_SEEN:
            self._pairs.popitem(last=False)

    def _make_space(self, device: torch.device, wanted: int) -> bool:
        most = torch.cuda.get_device_properties(device).total_memory // MEMORY_SHARE
        held = {key: plan.bytes_held for key, plan in self._plans.items()}
        while self._plans and (len(self._plans) >= self.most or sum(n for k, n in held.items() if k[0] == device.index) + wanted > most):
            oldest = next(iter(self._plans))
            del held[oldest]
            self._give_up(oldest)
        return wanted <= most

    def _give_up(self, key: Key) -> None:
        plan = self._plans.pop(key)
        self.last = None if self.last is plan else self.last
        plan.retire()


PLANS = Plans()  # of recon.render
