"""The waiting line before the work: who comes first goes first, but a user's further jobs let later ones of others pass.

A place is told and can be left at any time. Nobody waits for ever: a further job lets at most PASS jobs pass.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from recon.app.limits import Limits, Refused
from recon.app.worker import Stopped

PASS = 10  # jobs of others
LOOK_S = 0.2  # between two looks at the stop flag while waiting


@dataclass(eq=False)
class Ticket:
    """One job's place."""

    user: str
    place: int  # arrival, later by PASS for each job that the user has in the line already
    working: bool = False
    called: threading.Event = field(default_factory=threading.Event)


class Line:
    """Hands out `slots` places to work; see the module."""

    def __init__(self, limits: Limits, *, slots: int = 1) -> None:
        self.limits, self.slots = limits, slots
        self._lock, self._tickets = threading.Lock(), list[Ticket]()
        self._arrivals = 0

    @contextlib.contextmanager
    def turn(self, user: str, stop: threading.Event, tell: Callable[[int, int], None]) -> Iterator[None]:
        """Waits for a place, telling (jobs before this one, jobs waiting), and holds it as long as the block runs.

        Raises Refused where the line is full or the user has too many jobs in it, Stopped when `stop` is set while waiting.
        """
        ticket = self._join(user)
        try:
            while not ticket.called.wait(LOOK_S):
                if stop.is_set():
                    raise Stopped
                tell(*self.place(ticket))
            if stop.is_set():
                raise Stopped
            yield
        finally:
            self._leave(ticket)

    def place(self, ticket: Ticket) -> tuple[int, int]:
        """Jobs before this one, those at work included, and all that wait."""
        with self._lock:
            order = self._order()
            return (order.index(ticket) if ticket in order else 0) + self._working(), len(order)

    def __len__(self) -> int:
        with self._lock:
            return len(self._tickets)

    def _join(self, user: str) -> Ticket:
        with self._lock:
            own = sum(t.user == user for t in self._tickets)
            if own >= self.limits.jobs_a_user:
                raise Refused(f"you have {own} jobs here already, and {self.limits.jobs_a_user} are allowed: wait for one of them or stop it")
            waiting = len(self._tickets) - self._working()
            if waiting >= self.limits.waiting:
                raise Refused(f"{waiting} jobs are waiting, and no more are taken: please try again later")
            self._arrivals += 1
            ticket = Ticket(user, self._arrivals + PASS * own)
            self._tickets.append(ticket)
            self._call()
            return ticket

    def _leave(self, ticket: Ticket) -> None:
        with self._lock:
            self._tickets.remove(ticket)
            self._call()

    def _working(self) -> int:
        return sum(t.working for t in self._tickets)

    def _order(self) -> list[Ticket]:
        """Those who wait, the next one first."""
        return sorted((t for t in self._tickets if not t.working), key=lambda t: t.place)

    def _call(self) -> None:
        for ticket in self._order()[: max(0, self.slots - self._working())]:
            ticket.working = True
            ticket.called.set()
