"""A process of its own for the work: whatever a file does to a decoder or a job to the memory, the page goes on, and a stop ends it at once.

The process is started with the first call and kept warm. It is told to stop through recon's own progress callback; work that reports nothing
for STOP_S is ended with its process, and the next call starts another.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

from recon.app.limits import Refused, nameless

STOP_S = 0.4  # from the wish to stop to the end of the process
Tell = Callable[[str, float], None]  # what is being done, share done
log = logging.getLogger(__name__)


class Stopped(Exception):
    """The user wished the work to end."""


class Worker:
    """Runs functions of modules, one at a time, in its process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls, self._moved = deque[object](), threading.Condition()  # the first call has the process
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, function: str, *args: Any, tell: Tell | None = None, stop: threading.Event | None = None, limit_s: float = 3600.0) -> Any:
        """What `module:function` returns for the arguments and `tell`, which it is given as a keyword.

        Raises Stopped when `stop` was set, Refused with the message of what the work refused, of a process that died or of too long work.
        """
        with self._held(stop):
            pipe = self._started()
            end, deadline = time.monotonic() + limit_s, None
            try:
                pipe.send((function, args))
                while True:
                    if pipe.poll(0.05):
                        kind, *content = pipe.recv()
                        if kind != "progress":
                            return _outcome(kind, content[0])
                        if tell is not None and deadline is None:
                            tell(*content)
                    now = time.monotonic()
                    if stop is not None and stop.is_set() and deadline is None:
                        deadline = now + STOP_S
                        pipe.send("stop")
                    if now > min(end, deadline or end):
                        self._kill()
                        raise Stopped if deadline is not None else Refused(f"the work took more than {limit_s:.0f} s and was ended")
            except (EOFError, OSError) as error:
                self._kill()
                raise Refused("the work ended by itself, likely for want of memory: try fewer photos or a smaller resolution") from error
            except BaseException:
                if deadline is None and self._process is not None:  # whoever waited has gone: the work is nobody's
                    self._kill()
                raise

    @contextlib.contextmanager
    def _held(self, stop: threading.Event | None) -> Iterator[None]:
        """The process for this call alone, once the calls that came before have ended (a Lock lets anyone be next)."""
        call = object()
        with self._moved:
            self._calls.append(call)
        try:
            with self._moved:
                while self._calls[0] is not call:
                    if stop is not None and stop.is_set():
                        raise Stopped
                    self._moved.wait(0.2)
            yield
        finally:
            with self._moved:
                self._calls.remove(call)
                self._moved.notify_all()

    def warm(self) -> None:
        """Starts the process, so that the first call does not wait for it."""
        with self._held(None):
            self._started()

    def close(self) -> None:
        """Ends the process, in the middle of its work if need be."""
        self._kill()

    def _started(self) -> Connection:
        if self._process is None or not self._process.is_alive() or self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=serve, args=(other, os.getpid()), name=f"recon-{self.name}", daemon=True)
            self._process.start()
            other.close()
        assert self._pipe is not None
        return self._pipe

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(5)
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _outcome(kind: str, content: Any) -> Any:
    if kind == "done":
        return content
    if kind == "stopped":
        raise Stopped
    raise Refused(nameless(content))


def serve(pipe: Connection, parent: int) -> None:
    """The process: takes calls from `pipe` until its other end is closed or the parent is gone."""
    speak_namelessly()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as recon.cli does
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # if memory ends, rather this process than the page
        file.write("500")
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        if message != "stop":  # one that came too late
            _answer(pipe, *message)


class Nameless(logging.Formatter):
    """Lines of a log without the names of results, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return nameless(super().format(record))


def speak_namelessly() -> None:
    """Lets this process write warnings and errors to stderr, none of them with the name of a result."""
    handler = logging.StreamHandler()
    handler.setFormatter(Nameless("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _answer(pipe: Connection, function: str, args: tuple[Any, ...]) -> None:
    from recon.errors import ReconError

    def tell(text: str, share: float) -> None:
        if pipe.poll() and pipe.recv() == "stop":
            raise Stopped
        pipe.send(("progress", text, float(share)))

    module, _, name = function.partition(":")
    try:
        answer = "done", getattr(import_module(module), name)(*args, tell=tell)
    except Stopped:
        answer = "stopped", None
    except ReconError as error:
        answer = "refused", str(error)
    except (MemoryError, OSError) as error:
        log.exception("%s failed", function)
        what = "not enough memory" if isinstance(error, MemoryError) else f"this server cannot do it: {error.strerror or 'input or output failed'}"
        answer = "refused", what
    except Exception:  # ours: told in the log, not to a stranger
        log.exception("%s failed", function)
        answer = "refused", "something went wrong in the work; the server's log tells what"
    pipe.send(answer)
