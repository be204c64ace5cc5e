"""A look at the data before the first step: what is there, and whether it can be what it is said to be.

Each check is a file with a function from graphs to findings; ``look`` runs them.
"""
