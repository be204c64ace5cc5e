"""From a checked config to a trained model.

``targets``, ``optimizers``, ``schedulers``, ``trainer`` and ``loggers`` are specs (no torch until they build);
``losses``, ``metrics`` and ``module`` are what they build; ``run`` does a whole run.
"""
