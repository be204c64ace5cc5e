"""Searches over hyperparameters with Optuna: a declared space, type-checked before the first training.

No module imports torch at its top; training is imported inside functions.
"""
