"""Models of other programs as models of e3frame: their files are read as data, and no code of theirs is run.

One family of models is one file with a :class:`~e3frame.convert.family.Family`; it is found by itself.
"""

from __future__ import annotations

from e3frame.spec.registry import import_all

import_all(__name__, __path__)
