"""From a scene to a mesh for graphics programs: texture."""
