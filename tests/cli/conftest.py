from support.runs import _same_global_state, cache, finished, make_config  # noqa: F401
