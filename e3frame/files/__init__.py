"""Reads users' files, with limits and positions of values, and writes files atomically."""
