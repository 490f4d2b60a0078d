"""The default network: pointmaps, descriptors and lenses of photos without cameras, and the way from them to a Scene."""
