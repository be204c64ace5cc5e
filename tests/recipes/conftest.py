from __future__ import annotations

from support.runs import _same_global_state, cache

__all__ = ["_same_global_state", "cache"]
