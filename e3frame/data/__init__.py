"""From files to batches of graphs: ``sources`` declare data, ``formats`` read files, ``pipeline`` makes batches.

Energies are in eV and lengths in Å; :mod:`e3frame.data.pipeline.labels` converts the units of files.
"""
