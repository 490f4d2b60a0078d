"""MVSplat: two or more photos with known cameras to depth by a cost volume, and to Gaussians."""
