"""One training run, from its folder to its report."""
