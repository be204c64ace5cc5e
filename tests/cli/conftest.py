from support.mace import models  # noqa: F401
from support.runs import _same_global_state, cache, finished, make_config, without_figures  # noqa: F401
