"""Layers, one file per ``kind``. Importing the package registers them all.

A new layer is a new file with a :class:`~e3frame.spec.layer.LayerSpec` that has a ``kind``, ``infer``,
``num_parameters``, ``build`` and an ``example``. Its torch module is imported only inside ``build``.
"""

from __future__ import annotations

from e3frame.spec.registry import import_all

import_all(__name__, __path__)
