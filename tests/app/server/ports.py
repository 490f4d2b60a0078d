"""Ports for the servers of the tests."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port of loopback that nothing listened on a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
