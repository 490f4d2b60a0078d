"""Stops: flags by which whoever began some work, or whoever takes its result away, ends it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Stops:
    """Work at hand under any number of names: its maker's session, the result that it is made of."""

    def __init__(self) -> None:
        self._lock, self._events = threading.Lock(), dict[str, set[threading.Event]]()

    @contextlib.contextmanager
    def holding(self, *names: str) -> Iterator[threading.Event]:
        """A flag that is raised when one of the names is stopped while the block runs."""
        event = threading.Event()
        with self._lock:
            for name in names:
                self._events.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            with self._lock:
                for name in names:
                    self._events[name].discard(event)
                    if not self._events[name]:
                        del self._events[name]

    def stop(self, name: str) -> None:
        """Ends what is at hand under this name."""
        with self._lock:
            for event in self._events.get(name, ()):
                event.set()
