"""What to read: one file per ``kind`` of data; importing the package registers them all.

Adding a source is adding a file with a :class:`~e3frame.data.sources.base.DataSpec`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
