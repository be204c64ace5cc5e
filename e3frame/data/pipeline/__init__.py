"""From frames to batches: labels, neighbour lists, graphs, the cache on disk, and batch order."""
