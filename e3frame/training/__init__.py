"""Training with Lightning: the module, its callbacks, checkpoints, and several processes."""
