"""Molecules in, batches of graphs out.

``specs`` says what to read (no torch), a reader of each kind gives frames, ``labels`` takes their labels, ``neighbors``
and ``graphs`` make graphs of them, ``prepare`` does that in several processes, ``preflight`` looks at the result,
``dataset`` keeps these on disk, ``statistics`` sums up the training split, ``module`` and ``batch`` feed a model.
Inside, energies are eV and lengths Å; a file's own units end at :mod:`e3frame.data.frames`.
"""
