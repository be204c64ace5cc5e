from __future__ import annotations

from support.runs import _same_global_state, cache, finished, make_config, without_figures
from support.stops import at_step, console

__all__ = ["_same_global_state", "at_step", "cache", "console", "finished", "make_config", "without_figures"]
