"""Readers of file formats, from files to ASE atoms."""
