"""TriplaneGaussian: one photo of an object to Gaussians, by a point cloud and a triplane."""
