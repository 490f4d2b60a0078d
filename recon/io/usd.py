"""USD stages (.usda, .usdc, .usdz) of meshes, points and Gaussians (ParticleField3DGaussianSplat of OpenUSD 26.03), through usd-core.

The stage is y-up and in metres as far as the scene is; values are activated. Vertex colours are linear in USD.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import ReconError
from recon.io.content import PointCloud, dc_colors
from recon.io.files import fault, whole_file
from recon.io.gltf import to_linear
from recon.io.options import Options
from recon.io.splat_ply import unit_quats
from recon.scene import Gaussians, Mesh


def write(content: Mesh | PointCloud | Gaussians, path: Path, options: Options) -> None:
    """Writes a stage whose default prim holds the content. ReconError where usd-core is not installed."""
    Sdf, Usd, UsdGeom, UsdUtils = (_pxr(name) for name in ("Sdf", "Usd", "UsdGeom", "UsdUtils"))
    zipped = path.suffix.lower() == ".usdz"
    with whole_file(path) as temporary:
        inner = temporary.with_suffix(".usdc") if zipped else temporary
        try:
            layer = Sdf.Layer.CreateNew(str(inner))
            stage = Usd.Stage.Open(layer)
            UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if options.axes == "z-up" else UsdGeom.Tokens.y)
            UsdGeom.SetStageMetersPerUnit(stage, 1.0 / options.unit_scale)
            root = UsdGeom.Xform.Define(stage, "/scene")
            stage.SetDefaultPrim(root.GetPrim())
            if isinstance(content, Gaussians):
                _gaussians(stage, content)
            elif isinstance(content, Mesh):
                _mesh(stage, content)
            else:
                _points(stage, content)
            layer.Save()
            if zipped and not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(inner)), str(temporary), f"{path.stem}.usdc"):
                raise fault(path, "cannot be written: USD made no package")
        finally:
            if zipped:
                inner.unlink(missing_ok=True)


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
