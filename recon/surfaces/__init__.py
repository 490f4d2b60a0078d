"""From posed depth maps to surfaces: alignment, points, Gaussians."""
