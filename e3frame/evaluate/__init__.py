"""Predictions beside labels: losses, errors, and the errors of a whole split."""
