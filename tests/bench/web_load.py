"""Twenty visitors press the button at once: jobs done, in which order, memory of all processes, and how long the page takes to answer meanwhile.

    python tests/bench/web_load.py [--jobs 20] [--resolution 512] [--cold]

--cold: one job right after the start, from the upload to the splats.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = [ROOT / "assets" / "photos" / f"aloe_{side}.jpg" for side in ("left", "right")]


def tree_mb(process: int) -> float:
    """Resident memory of a process and all below it (shared pages are counted once in each)."""
    rows = [line.split() for line in subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True).stdout.splitlines()]
    below, total = {process}, 0.0
    for _ in range(4):
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    for pid, _, rss in rows:
        total += float(rss) / 1024 if int(pid) in below else 0.0
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--cold", action="store_true")
    args = parser.parse_args()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    folder = tempfile.mkdtemp()
    environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    server = subprocess.Popen([sys.executable, "-m", "recon.app", "--port", str(port), "--json"], env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = json.loads(server.stdout.readline())["url"]
    httpx.get(url, timeout=60)
    result: dict[str, object] = {"page_ready_s": round(time.perf_counter() - begin, 2)}
    order: list[int] = []
    lost: list[str] = []

    def one(number: int) -> None:
        files = [("files", (p.name, p.read_bytes())) for p in PHOTOS]
        paths = httpx.post(f"{url}gradio_api/upload", files=files, timeout=120).json()
        data = [[{"path": p, "meta": {"_type": "gradio.FileData"}} for p in paths], "recon-small", args.resolution, "", None, None, False, 50]
        event = httpx.post(f"{url}gradio_api/call/reconstruct", json={"data": data}, timeout=120).json()["event_id"]
        answer = httpx.get(f"{url}gradio_api/call/reconstruct/{event}", timeout=3600).text
        if "event: complete" not in answer:
            lost.append(answer[-300:])
            return
        order.append(number)
        if args.cold:
            address = json.loads(answer.rpartition("data: ")[2])[0]
            httpx.get(url.rstrip("/") + address + "view.bin", timeout=60)

    begin = time.perf_counter()
    threads = [threading.Thread(target=one, args=(number,)) for number in range(1 if args.cold else args.jobs)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)  # so that there is an order to keep
    answers, most = [], 0.0
    while any(thread.is_alive() for thread in threads):
        at = time.perf_counter()
        httpx.get(url, timeout=60)
        answers.append(time.perf_counter() - at)
        most = max(most, tree_mb(server.pid))
        time.sleep(0.5)
    seconds = time.perf_counter() - begin
    passed = sum(a > b for k, a in enumerate(order) for b in order[k + 1 :])
    result |= {
        "jobs": len(threads), "done": len(order), "lost": lost, "seconds": round(seconds, 1), "pairs_out_of_order": passed,
        "page_s_median": round(sorted(answers)[len(answers) // 2], 3), "page_s_most": round(max(answers), 3), "most_mb": round(most),
        "folder_mb": round(sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6),
    }  # fmt: skip
    server.terminate()
    server.wait(30)
    result["left_files"] = sum(f.is_file() for f in Path(folder).rglob("*"))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
