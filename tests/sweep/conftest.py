from support.runs import _same_global_state, cache  # noqa: F401
from support.searches import setup  # noqa: F401
