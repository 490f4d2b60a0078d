"""DUSt3R and MASt3R: two photos to pointmaps in the first one's axes, and from pairs of any number of photos to a Scene."""
