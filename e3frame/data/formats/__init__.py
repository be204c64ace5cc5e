"""From files to frames: one reader for each format."""
