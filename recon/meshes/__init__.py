"""Meshes of a scene: `fusion.fuse` is the whole way, and each of its stages stands alone.

depth_views (what of the views is used) -> resolution (voxel size from footprint and error) -> tsdf | poisson | grid -> cleanup -> decimation or
watertight -> colors, texture -> upright; `measure` gives a scene its size.
"""
