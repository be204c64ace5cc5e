"""Trained models: saved in one file without pickle, evaluated on data, run on structures."""
