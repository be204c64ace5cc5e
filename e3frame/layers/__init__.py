"""One file per ``kind``: importing the package registers every layer.

Adding a layer is adding a file: a :class:`~e3frame.spec.layer.LayerSpec` with a ``kind``, ``infer``,
``num_parameters``, ``build`` and an ``example``. Its torch module is imported inside ``build`` alone.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
