"""One file per ``kind``: importing the package registers every layer.

Adding a layer is adding a file: a :class:`~e3frame.spec.layer.LayerSpec` with a ``kind``, ``infer``,
``num_parameters``, ``build`` and an ``example``. Its torch module is imported inside ``build`` alone.
"""

from __future__ import annotations

from e3frame.spec.registry import import_all

import_all(__name__, __path__)
