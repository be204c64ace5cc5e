"""Saves trained models in one file without pickle, loads them, and runs them on structures."""
