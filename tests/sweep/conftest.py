from support.runs import _same_global_state, cache  # noqa: F401
