from __future__ import annotations

from support.runs import _same_global_state, cache, finished, make_config
from support.saved import model, plain

__all__ = ["_same_global_state", "cache", "finished", "make_config", "model", "plain"]
