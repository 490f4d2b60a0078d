"""The page in Gradio: what stands where, and which function each button calls. Templates are static: names of files never become HTML."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from recon.app.choices import Choices
from recon.app.example import example_files
from recon.app.job import FRAMES, MODEL, RESOLUTION, RESOLUTIONS
from recon.app.jobs import Asked, Jobs
from recon.app.knowledge import MASK_ENDINGS
from recon.app.limits import Refused
from recon.app.uploads import ENDINGS
from recon.app.worker import Stopped

FILE_TYPES = ["image", "video", *ENDINGS["zip"], ".heic", ".heif", ".mpo", ".mkv"]  # for the browser's choice; what counts is what is inside
VIEWER_JS = """(async () => {
const root = (window.gradio_config?.root || '').replace(/\\/$/, '');
const host = element.querySelector('.recon-host');
const { startViewer } = await import(root + '/recon/static/page_viewer.js');
await startViewer(host, root, () => props.value, (f) => watch('value', f));
})().catch((error) => { element.querySelector('.recon-host').textContent = 'The 3D view could not start: ' + error.message; });
"""


def panel(name: str, **options: Any) -> gr.HTML:
    """A part of the page that page.js fills: its function of this name gets the element, the value and a way to speak to Python."""
    code = f"""(async () => {{
const root = (window.gradio_config?.root || '').replace(/\\/$/, '');
const page = await import(root + '/recon/static/page.js');
page.{name}(element.firstElementChild, {{ root, value: () => props.value, watch: (f) => watch('value', f), tell: (data) => trigger('click', data) }});
}})();"""
    template = f'<div class="page-panel page-{name}" aria-live="polite"></div>'
    return gr.HTML(html_template=template, js_on_load=code, apply_default_css=False, elem_id=f"recon-{name}", **options)


def build(jobs: Jobs, choices: Choices) -> gr.Blocks:
    """The page of a server."""
    limits = jobs.limits

    def reconstruct(
        photos: list[str] | None, model: str = MODEL, resolution: int = RESOLUTION, focal: str | None = None, cameras: str | None = None,
        masks: list[str] | None = None, metric: bool = False, frames: int = FRAMES,
        request: gr.Request = None, progress: gr.Progress = gr.Progress(),  # type: ignore[assignment]  # noqa: B008 (Gradio's way)
    ) -> tuple[Any, str]:  # fmt: skip
        """Photos to a scene: its address below this server, and a line of words."""
        session = request.session_hash or "none"
        asked = Asked(
            photos=photos or [], model=model, resolution=int(resolution), focal=focal or "", cameras=cameras, masks=masks or (),
            metric=bool(metric), frames=int(frames),
        )  # fmt: skip
        try:
            token, words = jobs.run(asked, user=request.username or session, session=session, tell=lambda text, share: show(progress, text, share))
        except Refused as error:
            raise gr.Error(plain(str(error)), duration=None, print_exception=False, title="This did not work") from None
        except Stopped:
            return gr.skip(), "Stopped."
        return f"/recon/scene/{token}/", words

    def look(photos: list[str] | None, resolution: int, frames: int, request: gr.Request) -> tuple[Any, Any]:
        """The thumbnails and lines before the work, and whether it can begin."""
        if not photos:
            return "", gr.update(interactive=False)
        try:
            seen = jobs.look(photos, session=request.session_hash or "none", resolution=resolution, frames=frames)
        except Stopped:
            return gr.skip(), gr.skip()
        except Refused as error:
            seen = {"photos": [], "lines": [{"kind": "error", "text": str(error)}]}
        return json.dumps(seen), gr.update(interactive=not any(line["kind"] == "error" for line in seen["lines"]))

    def change(photos: list[str] | None, event: gr.EventData) -> tuple[Any, Any]:
        """What a button beside a thumbnail or a line asks for: files in another order or without one, or a smaller resolution."""
        told = event._data if isinstance(event._data, dict) else {}
        if told.get("action") == "smaller" and told.get("resolution") in RESOLUTIONS:
            return gr.skip(), told["resolution"]
        return rearranged(photos or [], told), gr.skip()

    with gr.Blocks(title="recon", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(html_template='<h1 class="recon-title">recon <small>photos in, 3D out</small></h1>', apply_default_css=False)
        with gr.Row(elem_id="recon-main"):
            with gr.Column(scale=1, min_width=280, elem_id="recon-side"):
                photos = gr.File(file_count="multiple", file_types=FILE_TYPES, label="Photos, a video or a zip", height=130, elem_id="recon-photos")
                before = panel("before")
                with gr.Row(elem_id="recon-buttons"):
                    run = gr.Button("Reconstruct", variant="primary", interactive=False, elem_id="recon-run", min_width=120)
                    halt = gr.Button("Stop", variant="stop", interactive=False, elem_id="recon-stop", min_width=80)
                    example = gr.Button("Try the example", elem_id="recon-example", min_width=120)
                words = gr.Markdown("", elem_id="recon-words", min_height=64)
                with gr.Accordion("Settings", open=False, elem_id="recon-settings"):
                    model = gr.Dropdown(choices.names, value=MODEL, label="Network", info=choices.licences, elem_id="recon-model")
                    resolution = gr.Radio(list(RESOLUTIONS), value=RESOLUTION, label="Resolution of the result (long side, pixels)")
                    focal = gr.Textbox(label="Focal length, if you know it", placeholder="28mm (as phones tell it) or 1200px", max_lines=1)
                    frames = gr.Slider(5, limits.photos, min(FRAMES, limits.photos), step=1, label="Photos taken of a video")
                    cameras = gr.File(file_count="single", file_types=[".json", ".npz", ".zip"], height=90, elem_id="recon-cameras",
                                      label="Known cameras: transforms.json, cameras.json, npz, COLMAP as zip")  # fmt: skip
                    metric = gr.Checkbox(False, label="Their places are in metres")
                    masks = gr.File(file_count="multiple", file_types=[*MASK_ENDINGS, ".zip"], height=90, elem_id="recon-masks",
                                    label="Masks, named as the photos: black is left out")  # fmt: skip
            with gr.Column(scale=3, min_width=320, elem_id="recon-result"):
                view = gr.HTML(html_template='<div class="recon-host"></div>', js_on_load=VIEWER_JS, apply_default_css=False, elem_id="recon-view")
                with gr.Tabs(elem_id="recon-tabs"):
                    for title, name in (("Take it home", "home"), ("The photos", "photos_told"), ("Reproduce", "reproduce")):
                        with gr.Tab(title):
                            panel(name)

        private: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
        inputs, outputs = [photos, model, resolution, focal, cameras, masks, metric, frames], [view, words]
        busy = lambda on: (lambda: (gr.update(interactive=not on), gr.update(interactive=on), gr.update(interactive=not on)))
        work: dict[str, Any] = {"concurrency_limit": limits.waiting + limits.jobs_a_user + 1, "concurrency_id": "work", "trigger_mode": "once",
                                "show_progress": "full", "show_progress_on": words}  # fmt: skip
        run.click(busy(True), None, [run, halt, example], **private)
        ended: list[Any] = [run.click(reconstruct, inputs, outputs, api_name="reconstruct", **work)]
        filled = example.click(lambda: (*example_files(jobs.home.example), *busy(True)()), None, [photos, cameras, run, halt, example], **private)
        ended.append(filled.then(reconstruct, inputs, outputs, api_visibility="private", **work))
        for event in ended:
            event.then(busy(False), None, [run, halt, example], **private)
        halt.click(_session(jobs.stop), None, None, **private)
        looked: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal", "show_progress_on": before, "trigger_mode": "always_last"}
        gr.on([photos.change, resolution.change, frames.release], look, [photos, resolution, frames], [before, run], **looked)
        before.click(change, photos, [photos, resolution], **private)
        blocks.unload(_session(jobs.left))
    return blocks.queue(max_size=4 * limits.waiting, default_concurrency_limit=8)


def show(progress: gr.Progress, text: str, share: float) -> None:
    """What is going on, on the page."""
    progress(share, desc=text)


def _session(do: Callable[[str], None]) -> Callable[[gr.Request], None]:
    def call(request: gr.Request) -> None:
        do(request.session_hash or "none")

    return call


def rearranged(photos: list[str], told: dict[str, Any]) -> Any:
    """The files without one, or with one moved a place; as they are for anything else."""
    at = told.get("file")
    if not isinstance(at, int) or not 0 <= at < len(photos):
        return gr.skip()
    if told.get("action") == "remove":
        return [p for k, p in enumerate(photos) if k != at] or None
    to = at + {"earlier": -1, "later": 1}.get(str(told.get("action")), 0)
    if to == at or not 0 <= to < len(photos):
        return gr.skip()
    moved = list(photos)
    moved.insert(to, moved.pop(at))
    return moved


def plain(text: str) -> str:
    """A message as text: Gradio shows errors as HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
