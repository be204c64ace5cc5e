"""Sources of data: one file per ``kind``; importing the package registers them all.

To add a source, add a file with a :class:`~e3frame.data.sources.base.DataSpec`.
"""

from __future__ import annotations

from e3frame.spec.registry import import_all

import_all(__name__, __path__)
