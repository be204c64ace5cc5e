"""What Lightning does: the module, its callbacks, checkpoints, and several processes."""
