"""Searches over hyperparameters: a declared space, typed before anything is trained, on Optuna.

Nothing here imports torch at the top of a file; what trains is reached inside functions.
"""
