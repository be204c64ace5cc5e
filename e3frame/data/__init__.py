"""Molecules in, batches of graphs out: ``sources`` say what is read, ``formats`` read it, ``pipeline`` makes batches.

Inside, energies are eV and lengths Å; the units of a file end at :mod:`e3frame.data.pipeline.labels`.
"""
