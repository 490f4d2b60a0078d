"""USD stages (.usda, .usdc, .usdz) of meshes, points and Gaussians (ParticleField3DGaussianSplat of OpenUSD 26.03), through usd-core.

The stage is y-up and in metres as far as the scene is; values are activated. Vertex colours are linear in USD, and v counts upwards. The texture
of `scene.usda` is `scene_texture.png` beside it; a .usdz holds its own.
"""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.io.content import PointCloud, dc_colors
from recon.io.files import fault, whole_file
from recon.io.gltf import to_linear
from recon.io.options import Options
from recon.io.splat_ply import unit_quats
from recon.io.textures import encode_texture
from recon.scene import Gaussians, Mesh


def write(content: Mesh | PointCloud | Gaussians, path: Path, options: Options) -> None:
    """Writes a stage whose default prim holds the content. ReconError where usd-core is not installed."""
    with ExitStack() as stack:  # left from its end: a texture gets its name before the stage that names it
        temporary = stack.enter_context(whole_file(path, options.guard))
        png = encode_texture(path, content.texture) if isinstance(content, Mesh) and content.texture is not None else None
        picture = f"{path.stem}_texture.png"
        if path.suffix.lower() == ".usdz":
            folder = Path(stack.enter_context(TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)))
            if png is not None:
                (folder / picture).write_bytes(png)
            _write_stage(folder / f"{path.stem}.usdc", content, options, picture)
            if not _pack(folder / f"{path.stem}.usdc", temporary):
                raise fault(path, "cannot be written: USD made no package")
        else:
            if png is not None:
                stack.enter_context(whole_file(path.with_name(picture), options.guard)).write_bytes(png)
            _write_stage(temporary, content, options, picture)


def _write_stage(target: Path, content: Mesh | PointCloud | Gaussians, options: Options, picture: str) -> None:
    """Writes a .usda or .usdc whose texture, if it has one, is the file `picture` beside it."""
    Sdf, Usd, UsdGeom = (_pxr(name) for name in ("Sdf", "Usd", "UsdGeom"))
    layer = Sdf.Layer.CreateNew(str(target))
    stage = Usd.Stage.Open(layer)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if options.axes == "z-up" else UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0 / options.unit_scale)
    root = UsdGeom.Xform.Define(stage, "/scene")
    stage.SetDefaultPrim(root.GetPrim())
    if isinstance(content, Gaussians):
        _gaussians(stage, content)
    elif isinstance(content, Mesh):
        _mesh(stage, content)
        if content.texture is not None:
            _texture(stage, content, picture)
    else:
        _points(stage, content)
    layer.Save()


def _pack(stage: Path, target: Path) -> bool:
    """Makes a .usdz of a stage and what it names; whether that was done."""
    return bool(_pxr("UsdUtils").CreateNewUsdzPackage(_pxr("Sdf").AssetPath(str(stage)), str(target), stage.name))


def _pxr(name: str) -> Any:
    """A module of OpenUSD, whose types its package does not tell."""
    try:
        return import_module(f"pxr.{name}")
    except ImportError as error:
        raise ReconError("USD files need usd-core: pip install usd-core") from error


def _array(kind: str, values: np.ndarray) -> Any:
    """A Vt array of the values' own memory."""
    return getattr(_pxr("Vt"), kind).FromNumpy(np.ascontiguousarray(values, np.int32 if kind == "IntArray" else np.float32))


def _extent(places: np.ndarray, radius: float = 0.0) -> Any:
    both = [places.min(0) - radius, places.max(0) + radius] if len(places) else [np.zeros(3), np.zeros(3)]
    return _array("Vec3fArray", np.stack(both))


def _mesh(stage: Any, mesh: Mesh) -> None:
    UsdGeom = _pxr("UsdGeom")
    prim = UsdGeom.Mesh.Define(stage, "/scene/mesh")
    places = mesh.vertices.float().numpy()
    prim.CreatePointsAttr(_array("Vec3fArray", places))
    prim.CreateFaceVertexCountsAttr(_array("IntArray", np.full(len(mesh.faces), 3)))
    prim.CreateFaceVertexIndicesAttr(_array("IntArray", mesh.faces.numpy().reshape(-1)))
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    prim.CreateDoubleSidedAttr(True)
    prim.CreateExtentAttr(_extent(places))
    if mesh.normals is not None:
        prim.CreateNormalsAttr(_array("Vec3fArray", mesh.normals.float().numpy()))
        prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    if mesh.colors is not None:
        prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(_array("Vec3fArray", to_linear(mesh.colors.float().numpy())))


def _texture(stage: Any, mesh: Mesh, picture: str) -> None:
    """Binds a matt UsdPreviewSurface whose colour is the file `picture` at the primvar st."""
    Sdf, UsdGeom, UsdShade = (_pxr(name) for name in ("Sdf", "UsdGeom", "UsdShade"))
    assert mesh.uvs is not None
    types = Sdf.ValueTypeNames
    prim = stage.GetPrimAtPath("/scene/mesh")
    st = UsdGeom.PrimvarsAPI(prim).CreatePrimvar("st", types.TexCoord2fArray, UsdGeom.Tokens.vertex)
    uvs = mesh.uvs.double().numpy()
    st.Set(_array("Vec2fArray", np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1)))
    material = UsdShade.Material.Define(stage, "/scene/material")

    def shader(name: str, kind: str, values: dict[str, tuple[Any, Any]]) -> Any:
        out = UsdShade.Shader.Define(stage, f"/scene/material/{name}")
        out.CreateIdAttr(kind)
        for key, (value_type, value) in values.items():
            out.CreateInput(key, value_type).Set(value)
        return out

    reader = shader("st", "UsdPrimvarReader_float2", {"varname": (types.String, "st")})
    repeat = (types.Token, "repeat")
    file = (types.Asset, Sdf.AssetPath(f"./{picture}"))
    image = shader("texture", "UsdUVTexture", {"file": file, "wrapS": repeat, "wrapT": repeat, "sourceColorSpace": (types.Token, "sRGB")})
    image.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
    surface = shader("surface", "UsdPreviewSurface", {"roughness": (types.Float, 1.0), "metallic": (types.Float, 0.0)})
    surface.CreateInput("diffuseColor", types.Color3f).ConnectToSource(image.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    UsdShade.MaterialBindingAPI.Apply(prim).Bind(material)


def _points(stage: Any, cloud: PointCloud) -> None:
    UsdGeom = _pxr("UsdGeom")
    prim = UsdGeom.Points.Define(stage, "/scene/points")
    places = cloud.points.float().numpy()
    prim.CreatePointsAttr(_array("Vec3fArray", places))
    spread = float(np.linalg.norm(places.max(0) - places.min(0))) if len(places) else 0.0
    width = spread / max(len(places), 1) ** 0.5
    prim.CreateWidthsAttr(_array("FloatArray", np.array([width])))
    prim.SetWidthsInterpolation(UsdGeom.Tokens.constant)
    prim.CreateExtentAttr(_extent(places, width / 2))
    if cloud.colors is not None:
        prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(_array("Vec3fArray", to_linear(cloud.colors.float().numpy())))


def _gaussians(stage: Any, g: Gaussians) -> None:
    """Coefficients Gaussian by Gaussian with the constant one first, as NVIDIA's validator VG.035 wants them."""
    try:
        define = _pxr("UsdVol").ParticleField3DGaussianSplat.Define
    except AttributeError as error:
        raise ReconError("Gaussians in USD need usd-core 26.3 or newer: pip install -U usd-core") from error
    prim = define(stage, "/scene/splats")
    means, scales, sh = g.means.float().numpy(), g.scales.float().numpy(), g.sh.float().numpy()
    bases = sh.shape[1]
    prim.CreatePositionsAttr(_array("Vec3fArray", means))
    prim.CreateOrientationsAttr(_array("QuatfArray", unit_quats(g.quats.float().numpy())[:, [1, 2, 3, 0]]))  # Vt keeps the real part last
    prim.CreateScalesAttr(_array("Vec3fArray", scales))
    prim.CreateOpacitiesAttr(_array("FloatArray", g.opacities.float().clamp(0, 1).numpy()))
    prim.CreateRadianceSphericalHarmonicsDegreeAttr(int(bases**0.5) - 1)
    coefficients = prim.CreateRadianceSphericalHarmonicsCoefficientsAttr(_array("Vec3fArray", sh.reshape(-1, 3)))
    coefficients.SetMetadata("elementSize", bases)
    coefficients.SetMetadata("interpolation", "vertex")
    prim.CreateProjectionModeHintAttr("perspective")
    prim.CreateSortingModeHintAttr("cameraDistance")
    prim.CreateExtentAttr(_extent(means, 3 * float(scales.max(initial=0))))
    prim.CreateDisplayColorPrimvar("vertex").Set(_array("Vec3fArray", to_linear(dc_colors(g).float().numpy())))
