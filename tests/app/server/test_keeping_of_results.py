"""What lies on the disk and for how long: results by token alone, nothing of what failed, nothing after a killed server."""

from __future__ import annotations

import os
import time

import pytest

from recon.app.home import Home
from recon.app.limits import Limits, Refused
from recon.app.scenes import SceneStore


def made(store: SceneStore, owner: str = "one") -> str:
    with store.making(owner) as entry:
        (entry.folder / "view.json").write_text("{}")
    return entry.token


def test_a_result_is_found_by_its_token_alone(tmp_path):
    store = SceneStore(tmp_path / "s", Limits())
    token = made(store)
    assert len(token) == 32 and store.find(token) is not None
    assert len({made(store) for _ in range(50)}) == 50
    for wrong in ("", token[:-1], token.swapcase(), f"../{token}", f"{token}/", ".", "..", "%2e%2e", "A" * 32):
        assert store.find(wrong) is None
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0  # other users of the machine see nothing


def test_nothing_is_found_before_it_is_whole_nor_left_when_it_fails(tmp_path):
    store = SceneStore(tmp_path, Limits())
    with pytest.raises(ZeroDivisionError), store.making("one") as entry:
        (entry.folder / "half.bin").write_bytes(b"x" * 100)
        assert store.find(entry.token) is None
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [] and len(store) == 0


def test_results_go_after_their_time_or_at_once(tmp_path):
    store = SceneStore(tmp_path, Limits(lifetime_s=0.2, after_leaving_s=0.05))
    kept, left = made(store), made(store, "two")
    store.left("two")
    time.sleep(0.1)
    assert store.find(left) is None and store.find(kept) is not None
    assert store.over() == [left]
    store.delete(left)
    assert not (tmp_path / left).exists() and (tmp_path / kept).exists()
    assert store.delete(kept) and not store.delete(kept) and list(tmp_path.iterdir()) == []
    third = made(store)
    time.sleep(0.25)
    assert store.find(third) is None  # before any sweep


def test_what_a_killed_server_left_goes_at_the_next_start(tmp_path):
    first = Home(tmp_path)
    (first.scenes / "half").mkdir()
    second = Home(tmp_path)
    assert first.folder.exists() and second.folder.exists()  # a living one is left alone
    assert first._lock is not None
    first._lock.close()  # what the system does with the files of a killed process
    third = Home(tmp_path)
    assert not first.folder.exists() and second.folder.exists()
    for home in (second, third):
        home.close()
    assert list(tmp_path.iterdir()) == []


def test_given_up_and_old_uploads_go(tmp_path):
    home = Home(tmp_path)
    stale, fresh, whole = home.uploads / "tmpabc", home.uploads / "tmpdef", home.uploads / "0f0f"
    stale.write_bytes(b"half")
    fresh.write_bytes(b"half")
    whole.mkdir()
    old = time.time() - 100
    os.utime(stale, (old, old))
    os.utime(whole, (old, old))
    home.drop_stale_uploads(60)
    assert not stale.exists() and fresh.exists() and whole.exists()
    home.drop_old_uploads(60)
    assert not whole.exists()
    assert home.size_mb() == pytest.approx(4e-6)
    home.close()


def test_limits_are_positive():
    with pytest.raises(Refused, match="photos is 0"):
        Limits(photos=0)
