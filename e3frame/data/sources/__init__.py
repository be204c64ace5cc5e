"""What to read: one torch-free spec for each kind of data set."""
