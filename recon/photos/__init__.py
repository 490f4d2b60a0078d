"""Photos in: decoding, finding, grids of pixels, and what a person should know of the photos."""
