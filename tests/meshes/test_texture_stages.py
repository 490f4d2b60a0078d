"""The stages of textures alone: splitting, choice, packing, layout, levelling, filling; and other programs, which see the same colours."""

from __future__ import annotations

import io as streams
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from texture_scenes import noise, room

import recon.io as io
from recon.errors import ReconError
from recon.io.content import no_cameras
from recon.meshes.texture import adjacency, choose_views, halve, lay_out, level, seams_of, shots_of, split_large, survey, texture_mesh, vertex_colors
from recon.meshes.texture.baking import fill
from recon.meshes.texture.choice import patches_of
from recon.meshes.texture.choice_loops import propagate
from recon.meshes.texture.layout import PADDING
from recon.meshes.texture.levelling import Seams
from recon.meshes.texture.packing import pack
from recon.meshes.texture.subdivision import edge_table
from recon.scene import Mesh, Scene


def area(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = points[faces].transpose(1, 0, 2)
    return np.cross(b - a, c - a) / 2


def test_splitting_leaves_no_gaps():
    box = room()
    points, faces = box.vertices.double().numpy(), box.faces.numpy()
    eyes = np.array([[0.3, 0.2, 0.1], [-1.0, 0.5, 0.9]])
    new, split, parents = split_large(points, faces, eyes, most=0.2)
    assert len(split) > 500 and np.bincount(edge_table(split)[1].reshape(-1)).tolist() == [2] * len(edge_table(split)[0])  # closed, no T
    assert np.isclose(np.linalg.norm(area(new, split), axis=1).sum(), np.linalg.norm(area(points, faces), axis=1).sum())
    assert np.allclose(area(new, split).sum(0), 0, atol=1e-9)
    inward = (area(new, split) * -new[split].mean(1)).sum(1)
    assert (inward > 0).all()  # windings stay
    ends = new[edge_table(split)[0]]
    distance = np.linalg.norm(ends.mean(1)[:, None] - eyes, axis=2).min(1)
    assert (np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) <= 0.2 * distance).all()
    assert np.allclose(halve(points, parents), new)
    same = split_large(points, faces, eyes, most=100.0)
    assert np.array_equal(same[1], faces) and len(same[2]) == 0


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=60), st.integers(60, 200))
def test_boxes_do_not_overlap(boxes, width):
    sides = np.array(boxes)
    corners, height = pack(sides[:, 0], sides[:, 1], width)
    page = np.zeros((height, width), int)
    for (x, y), (w, h) in zip(corners, sides, strict=True):
        assert x >= 0 and y >= 0 and x + w <= width and y + h <= height
        page[y : y + h, x : x + w] += 1
    assert page.max() == 1
    assert height <= 2.2 * max(page.sum() / (width - sides[:, 0].max() + 1), sides[:, 1].max())


def test_few_seams_beat_a_little_quality():
    """On a strip of faces two photos are as good but for noise: one is taken. Where one does not show a face, the other is."""
    pairs = np.stack([np.arange(99), np.arange(1, 100)], 1)
    quality = (1000 + 50 * np.random.default_rng(0).random((100, 2))).astype(np.float32)
    assert len(set(choose_views(quality, pairs).tolist())) == 1
    quality[:30, 0] = 0
    quality[70:, 1] = 0
    labels = choose_views(quality, pairs)
    assert (labels[:30] == 1).all() and (labels[70:] == 0).all() and (np.diff(labels) != 0).sum() == 1
    quality[40] = 0
    assert choose_views(quality, pairs)[40] == -1
    assert (choose_views(np.zeros((5, 2), np.float32), pairs[:4]) == -1).all()


def test_a_chain_gets_the_best_labels():
    """Belief propagation is exact on a chain: as good as dynamic programming."""
    cost = np.random.default_rng(1).random((60, 4)).astype(np.float32)
    best = cost[0].astype(float)
    for row in cost[1:]:
        best = row + np.minimum(best, best.min() + 0.3)
    pairs = np.stack([np.arange(59), np.arange(1, 60)], 1)
    order = np.argsort(pairs.reshape(-1), kind="stable")
    labels = propagate(cost, order, np.searchsorted(pairs.reshape(-1)[order], np.arange(61)), pairs, np.float32(0.3), 4)
    assert np.isclose(cost[np.arange(60), labels].sum() + 0.3 * (np.diff(labels) != 0).sum(), best.min(), atol=1e-4)


def test_small_patches_join_their_neighbours():
    pairs = np.stack([np.arange(99), np.arange(1, 100)], 1)
    quality = np.full((100, 2), 1000, np.float32)
    quality[:, 1] = 400
    quality[50:53, 1] = 30000  # three faces for which the second photo is far better
    quality[50:53, 0] = 100
    assert (choose_views(quality, pairs) == 0).all()


def test_levelling_closes_a_step(ball, scene):
    """A constant difference of two halves is closed for the most part, half on each side, smoothly."""
    points, faces = ball.vertices.double().numpy(), ball.faces.numpy()
    pairs, shots = adjacency(faces), shots_of(scene)
    labels = (points[faces].mean(1)[:, 0] > 0).astype(np.int64)
    layout = lay_out(points, faces, labels, pairs, shots, 512)
    seams = seams_of(layout, pairs)
    assert len(seams) > 40 and (layout.vertex[seams.corners[:, 0]] == layout.vertex[seams.corners[:, 1]]).all()
    steps = np.zeros((len(seams), 2, 3))
    steps[...] = np.where(layout.labels[seams.faces[:, 0]] == 0, 0.1, -0.1)[:, None, None] * [1, 0, -1]  # photo 0 is brighter by 0.1 in red
    offsets = level(seams, steps, layout)
    left, right = (offsets[np.unique(layout.faces[labels == side])] for side in range(2))
    first, second = (layout.labels[seams.faces[:, 0]] == 0, seams.corners)
    dark = np.where(first[:, None], second[:, 0], second[:, 1])
    bright = np.where(first[:, None], second[:, 1], second[:, 0])
    assert np.abs((offsets[bright] - offsets[dark])[..., 0] - 0.1).max() < 0.03
    assert abs(left[:, 0].mean() + right[:, 0].mean()) < 0.01 and np.abs(offsets[:, 1]).max() < 1e-9
    assert (level(Seams(corners=seams.corners[:0], faces=seams.faces[:0]), steps[:0], layout) == 0).all()


def test_layout_keeps_patches_apart(ball, scene):
    """Each patch's box with its padding is its own, and the page is no larger than asked for."""
    points, faces = ball.vertices.double().numpy(), ball.faces.numpy()
    pairs, shots = adjacency(faces), shots_of(scene)
    labels = choose_views(survey(points, faces, shots).quality, pairs)
    for size in (4096, 200, 128):
        layout = lay_out(points, faces, labels, pairs, shots, size)
        assert max(layout.width, layout.height) <= size and (layout.scale == 1) == (size == 4096)
        page = np.zeros((layout.height, layout.width), int)
        for patch in np.unique(layout.patch):
            xy = layout.xy[layout.patch == patch]
            (left, top), (right, bottom) = np.floor(xy.min(0)).astype(int) - PADDING, np.ceil(xy.max(0)).astype(int) + PADDING
            assert left >= 0 and top >= 0
            page[top:bottom, left:right] += 1
        assert page.max() == 1
        assert len(np.unique(layout.patch)) >= patches_of(labels, pairs)[0]
    with pytest.raises(ReconError, match="size 64 cannot hold"):
        crowd = np.arange(len(faces)) % 2  # thousands of patches
        lay_out(points, faces, crowd, pairs[:0], shots, 64)


def test_mipmaps_mix_in_nothing_foreign(ball, scene):
    """A green ball before red: nowhere has the texture a tenth of the red, so that no mipmap has."""
    green, red = torch.tensor([0.2, 0.6, 0.3]), torch.tensor([0.9, 0.1, 0.1])
    rgb = torch.where(scene.images.mask[..., None], green, red)
    mesh = texture_mesh(ball, replace(scene, images=replace(scene.images, rgb=rgb)))
    assert ((mesh.texture - green).abs() < 0.1 * (red - green).abs()).all()
    assert ((mesh.texture - green).abs().amax(-1) < 0.005).float().mean() > 0.99


def test_filling_keeps_what_is_known():
    picture = np.zeros((40, 60, 3), np.float32)
    known = np.zeros((40, 60), bool)
    known[5:9, 5:9], known[30:34, 50:54] = True, True
    picture[5:9, 5:9], picture[30:34, 50:54] = [1, 0, 0], [0, 0, 1]
    fill(picture, known)
    assert (picture[5:9, 5:9] == [1, 0, 0]).all() and (picture[30:34, 50:54] == [0, 0, 1]).all()
    assert np.abs(picture[4, 4] - [1, 0, 0]).max() < 0.01 and np.abs(picture[35, 55] - [0, 0, 1]).max() < 0.01
    assert np.allclose(picture[..., 0] + picture[..., 2], 1, atol=1e-4) and picture[..., 1].max() == 0


def test_colours_between_are_harmonic():
    """On a strip whose ends are known the colours in between are on a line."""
    points = np.stack([np.arange(22) // 2, np.arange(22) % 2, 0 * np.arange(22)], 1).astype(float)
    faces = np.array([[i, i + 1, i + 2] for i in range(20)])
    known = np.full((22, 3), np.nan)
    known[:2], known[-2:] = 0.0, 1.0
    out = vertex_colors(faces, known, None, points, Scene(cameras=no_cameras()))
    middle = out[2:-2, 0]
    assert (np.diff(middle) > 0).all() and abs(middle.mean() - 0.5) < 0.02 and np.allclose(out[:2], 0) and np.allclose(out[-2:], 1)


def shown_by(places: np.ndarray, uvs: np.ndarray, faces: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """How far a program's texture is from `noise` at the middles of faces [F, 3]; places in our world, v down."""
    uv = uvs[faces].mean(1) * [pixels.shape[1], pixels.shape[0]]
    colors = pixels[uv[:, 1].astype(int), uv[:, 0].astype(int)] / 255
    return np.abs(colors - noise(places[faces].mean(1), 0.3)).max(1)


@pytest.mark.parametrize("name", ["a.glb", "a.obj"])
def test_trimesh_and_open3d_see_the_surface(textured, scene, tmp_path, name):
    import trimesh

    io.save(Scene(cameras=scene.cameras, mesh=textured), tmp_path / name, kind="mesh")
    theirs = trimesh.load(tmp_path / name, process=False)
    theirs = theirs if isinstance(theirs, trimesh.Trimesh) else next(iter(theirs.geometry.values()))
    material = theirs.visual.material
    pixels = np.asarray(getattr(material, "baseColorTexture", None) or material.image)[..., :3]
    seen = seen_faces(textured)
    uvs = np.asarray(theirs.visual.uv) * [1, -1] + [0, 1]
    off = shown_by(np.asarray(theirs.vertices) * [1, -1, -1], uvs, np.asarray(theirs.faces), pixels)[seen]
    assert np.median(off) < 0.03 and np.quantile(off, 0.99) < 0.2
    open3d = pytest.importorskip("open3d", reason="Open3D does not load here", exc_type=ImportError)
    again = open3d.io.read_triangle_mesh(str(tmp_path / name), True)
    pixels, uvs = np.asarray(again.textures[0])[..., :3], np.asarray(again.triangle_uvs)
    places = np.asarray(again.vertices)[np.asarray(again.triangles)].reshape(-1, 3) * [1, -1, -1]
    off = shown_by(places, uvs, np.arange(len(uvs)).reshape(-1, 3), pixels)[seen]
    assert np.median(off) < 0.03 and np.quantile(off, 0.99) < 0.2


def test_usd_and_ply_show_the_surface(textured, scene, tmp_path):
    whole = Scene(cameras=scene.cameras, mesh=textured)
    io.save(whole, tmp_path / "a.mesh.ply")
    ply = io.load(tmp_path / "a.mesh.ply").mesh
    seen = np.unique(ply.faces.numpy()[seen_faces(textured)])
    assert np.median(np.abs(ply.colors.numpy() - noise(ply.vertices.numpy(), 0.3)).max(1)[seen]) < 0.03
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from PIL import Image
    from pxr import Ar, Usd, UsdGeom, UsdShade

    io.save(whole, tmp_path / "a.usdz", kind="mesh")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdz"))
    prim = stage.GetPrimAtPath("/scene/mesh")
    surface = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
    image = UsdShade.Shader(surface.GetInput("diffuseColor").GetConnectedSource()[0].GetPrim())
    asset = image.GetInput("file").Get()
    pixels = np.asarray(Image.open(streams.BytesIO(bytes(Ar.GetResolver().OpenAsset(Ar.ResolvedPath(asset.resolvedPath)).GetBuffer()))))
    mesh = UsdGeom.Mesh(prim)
    uvs = np.array(UsdGeom.PrimvarsAPI(prim).GetPrimvar("st").Get()) * [1, -1] + [0, 1]
    faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    off = shown_by(np.array(mesh.GetPointsAttr().Get()) * [1, -1, -1], uvs, faces, pixels)[seen_faces(textured)]
    assert np.median(off) < 0.03 and np.quantile(off, 0.99) < 0.2


def seen_faces(mesh: Mesh) -> np.ndarray:  # [F] bool
    """Faces that the ring of cameras shows: the poles it does not."""
    return (mesh.vertices[mesh.faces].mean(1)[:, 1].abs() < 0.6).numpy()


def test_the_validator_has_no_complaints(textured, scene, tmp_path):
    from test_oracles import complaints  # pyright: ignore[reportMissingImports]

    mesh = replace(textured, normals=torch.nn.functional.normalize(textured.vertices, dim=1))
    io.save(Scene(cameras=scene.cameras, mesh=mesh), tmp_path / "a.glb", kind="mesh")
    assert complaints(tmp_path / "a.glb") == []
    back = io.load(tmp_path / "a.glb").mesh
    assert (back.texture - textured.texture).abs().max() < 0.6 / 255 and torch.equal(back.uvs, textured.uvs)


@pytest.mark.parametrize("program", ["blender", "unity", "unreal", "threejs"])
def test_programs_get_the_texture(textured, scene, tmp_path, program):
    paths = io.save_for(Scene(cameras=scene.cameras, mesh=textured), tmp_path, program)
    assert io.load(paths[0]).mesh.texture is not None


def test_normals_and_colours_follow_split_faces(scene):
    """A room's faces are split and its vertices doubled; each normal stays its vertex's."""
    box = room((0.9, 0.7, 0.8))
    box = replace(box, faces=box.faces.flip(1), normals=torch.nn.functional.normalize(box.vertices, dim=1))
    mesh = texture_mesh(box, scene)
    assert mesh.normals.shape == mesh.vertices.shape and torch.allclose(mesh.normals.norm(dim=1), torch.ones(len(mesh.normals)), atol=1e-5)
    assert (torch.nn.functional.cosine_similarity(mesh.normals, mesh.vertices) > 0.95).all()
