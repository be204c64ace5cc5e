from support.mace import models  # noqa: F401
