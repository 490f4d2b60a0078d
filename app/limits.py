"""What one server allows: photos, sizes, jobs, and how long things are kept. All of it is checked on the server, whatever a page says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recon.errors import ReconError

PLACE = re.compile(r"[^\s'\"]*[/\\]server-[a-z0-9_]{8}[/\\](?:[^\s'\"]*[/\\])?")  # the way to a file in a server's folder


def nameless(text: str) -> str:
    """A message without the server's own folders, whose names are secret: a file keeps its last name."""
    return PLACE.sub("", text)


class Refused(ReconError):
    """What this server does not take or do; the message says what was given and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The bounds of one server; `recon app --help` has options for those that people change."""

    photos: int = 100  # of a job, frames of videos counted
    megapixels: float = 100.0  # of one photo
    file_mb: int = 200  # of one uploaded file
    total_mb: int = 1000  # of one upload, and of a job's files with its archives unpacked
    disk_mb: int = 20_000  # of everything this server keeps; beyond it uploads are refused
    jobs_a_user: int = 3  # waiting or at work; a user is a session, or who signed in
    waiting: int = 32  # jobs of all users
    job_s: float = 3600.0  # the longest that one may take
    lifetime_s: float = 3600.0  # of a result, and of uploads
    after_leaving_s: float = 600.0  # of a result whose page was closed
    stale_upload_s: float = 60.0  # an upload that stands still for so long has been given up

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise Refused(f"the limit {name} is {value}, wanted above 0")
