"""One picture of a reconstruction: the photos, their depth and confidence, and the result seen from new viewpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.errors import ReconError
from recon.io.files import whole_file
from recon.render import render
from recon.render.colour_maps import confidence_pictures, depth_pictures
from recon.scene import Cameras

if TYPE_CHECKING:
    from PIL.Image import Image

    from recon.io.guard import Guard
    from recon.scene import Scene

MOST_VIEWS = 6  # more are left out evenly
TILE_WIDTH, GAP, LABEL, HEADER = 400, 14, 28, 48
TURNS_DEGREES = ((-20.0, 5.0), (0.0, 25.0), (20.0, 5.0))  # of the new viewpoints: around to the right, up
STEP_BACK = 0.15  # of the distance, so that more of the scene is in the frame
BACKGROUND, INK, PALE = (250, 250, 248), (30, 30, 30), (120, 120, 120)
MOST_SAMPLES = 100_000


def save_contact_sheet(scene: Scene, path: str | Path, guard: Guard | None = None) -> None:
    """Writes the sheet as PNG or JPEG by the name of `path`, whole or not at all; ReconError for a scene without depth or photos."""
    sheet = contact_sheet(scene)
    path = Path(path)
    kind = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower())
    if kind is None:
        raise ReconError(f"a contact sheet cannot be written as {path.name}; allowed: .png, .jpg")
    with whole_file(path, guard) as temporary:
        sheet.save(temporary, kind, quality=90)


def contact_sheet(scene: Scene) -> Image:
    """The sheet: a row a view (photo, depth, confidence) and below them the result from three new viewpoints."""
    from PIL import Image

    if scene.images is None or scene.depth is None or scene.pointmaps is None or scene.gaussians is None:
        raise ReconError("a contact sheet needs a scene with images, depth, pointmaps and Gaussians")
    chosen = np.unique(np.linspace(0, len(scene) - 1, min(len(scene), MOST_VIEWS)).round().astype(int)).tolist()
    columns = (_photo_tiles(scene, chosen), _depth_tiles(scene, chosen), _confidence_tiles(scene, chosen))
    rows = [*zip(*columns, strict=True), new_views(scene)]
    tile_height = round(TILE_WIDTH * scene.cameras.height / scene.cameras.width)
    step_x, step_y = TILE_WIDTH + GAP, tile_height + LABEL + GAP
    sheet = Image.new("RGB", (3 * step_x + GAP, HEADER + len(rows) * step_y), BACKGROUND)
    _write(sheet, (GAP, GAP), _title(scene, len(chosen)), INK, 20)
    for r, row in enumerate(rows):
        for c, (picture, label) in enumerate(row):
            x, y = GAP + c * step_x, HEADER + r * step_y
            sheet.paste(Image.fromarray(picture).resize((TILE_WIDTH, tile_height), Image.Resampling.LANCZOS), (x, y))
            _write(sheet, (x, y + tile_height + 6), label, PALE, 16, TILE_WIDTH)
    return sheet


def _title(scene: Scene, shown: int) -> str:
    placed = sum(by != "unplaced" for by in scene.cameras.placed_by)
    count = f"{len(scene)} photos" if len(scene) > 1 else "1 photo"
    only = f" ({shown} shown)" if shown < len(scene) else ""
    return f"{count}{only}, {placed} placed, {int(scene.pointmaps.mask.sum()):,} points" if scene.pointmaps is not None else count


def _write(sheet: Image, xy: tuple[int, int], text: str, ink: tuple[int, int, int], size: int, most_width: int | None = None) -> None:
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    while most_width is not None and len(text) > 4 and font.getlength(text) > most_width:
        text = text[:-4].rstrip() + "..."
    ImageDraw.Draw(sheet).text(xy, text, fill=ink, font=font)


def _photo_tiles(scene: Scene, chosen: list[int]) -> list[tuple[np.ndarray, str]]:
    assert scene.images is not None
    rgb = (scene.images.rgb[chosen].cpu().clamp(0, 1) * 255).round().byte().numpy()
    mask = scene.images.mask[chosen].cpu().numpy()
    tiles = []
    for k, v in enumerate(chosen):
        picture = np.where(mask[k][..., None], rgb[k], np.array(BACKGROUND, np.uint8))
        by, confidence = scene.cameras.placed_by[v], float(scene.cameras.confidence[v])
        tiles.append((picture, f"{scene.images.names[v]}: {by} {confidence:.2f}"))
    return tiles


def _depth_tiles(scene: Scene, chosen: list[int]) -> list[tuple[np.ndarray, str]]:
    pictures, near, far = depth_pictures(scene, chosen)
    return [(_on_background(p), f"depth {near:.2f} (bright) to {far:.2f} (dark)") for p in pictures]


def _confidence_tiles(scene: Scene, chosen: list[int]) -> list[tuple[np.ndarray, str]]:
    pictures, low, high = confidence_pictures(scene, chosen)
    return [(_on_background(p), f"confidence {low:.1f} (dark) to {high:.1f} (bright)") for p in pictures]


def _on_background(picture: np.ndarray) -> np.ndarray:  # [H, W, 4] -> [H, W, 3]
    return np.where(picture[..., 3:] > 0, picture[..., :3], np.array(BACKGROUND, np.uint8))


def new_views(scene: Scene) -> list[tuple[np.ndarray, str]]:
    """Pictures [H, W, 3] uint8 of the Gaussians, seen from beside and from above the middle one of the placed views, with labels."""
    assert scene.gaussians is not None
    placed = [v for v, by in enumerate(scene.cameras.placed_by) if by != "unplaced"] or [0]
    camera = scene.cameras[[placed[len(placed) // 2]]].to("cpu")
    z = scene.gaussians.means.cpu() @ camera.world_to_cam[0, 2, :3] + camera.world_to_cam[0, 2, 3]
    z = z[z > 0]
    step = max(1, len(z) // MOST_SAMPLES)  # torch.quantile takes no more than 16 million
    near, middle = z[::step].quantile(torch.tensor([0.05, 0.5])).tolist() if len(z) else (1.0, 1.0)
    pivot = math.sqrt(near * middle)  # turning around it keeps the foreground in the frame and the background too
    scale = TILE_WIDTH / camera.width
    K = camera.K * torch.tensor([scale, scale, 1.0])[:, None]
    turned = torch.stack([camera.cam_to_world[0].double() @ torch.linalg.inv(_orbit(pivot, *map(math.radians, turn))) for turn in TURNS_DEGREES])
    cameras = Cameras(K=K.expand(len(turned), 3, 3), cam_to_world=turned.float(), width=TILE_WIDTH, height=max(1, round(camera.height * scale)))
    pictures = render(scene.gaussians, cameras, background=[c / 255 for c in BACKGROUND]).color.clamp(0, 1).cpu()
    labels = []
    for right, up in TURNS_DEGREES:
        parts = [f"{abs(right):.0f} degrees to the {'right' if right > 0 else 'left'}"] * bool(right) + [f"{up:.0f} degrees above"] * bool(up)
        labels.append(f"seen from {', '.join(parts)}")
    return list(zip((pictures * 255).round().byte().numpy(), labels, strict=True))


def _orbit(pivot: float, right: float, up: float) -> torch.Tensor:  # -> [4, 4]
    """Camera axes to those of a camera that went around the point at depth `pivot` by these angles, and a little back."""
    c, s, d, e = math.cos(right), math.sin(right), math.cos(up), math.sin(up)
    around_y = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    around_x = torch.tensor([[1, 0, 0], [0, d, -e], [0, e, d]], dtype=torch.float64)
    T = torch.eye(4, dtype=torch.float64)
    T[:3, :3] = around_x @ around_y
    centre = torch.tensor([0, 0, pivot], dtype=torch.float64)
    T[:3, 3] = (1 + STEP_BACK) * centre - T[:3, :3] @ centre
    return T
