"""From frames to batches: labels, neighbours, graphs, what is kept on disk, and the order of the frames."""
