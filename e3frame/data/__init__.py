"""Molecules in, batches of graphs out.

``specs`` says what to read (no torch), a reader of each kind gives frames, ``labels`` takes their labels, ``neighbors``
and ``graphs`` make graphs of them, ``prepare`` does that in several processes, ``preflight`` looks at the result,
``dataset`` keeps these in memory and ``disk`` on disk, as a ``frameset`` both; ``statistics`` sums up the training
split; ``sampling``, ``loader``, ``module`` and ``batch`` feed a model, with ``displaced`` atoms if asked to.
Inside, energies are eV and lengths Å; a file's own units end at :mod:`e3frame.data.frames`.
"""
