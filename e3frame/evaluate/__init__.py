"""Compares predictions with labels: losses, metrics and the evaluation of whole splits."""
