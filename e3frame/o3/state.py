"""Loading what e3nn has saved."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class LoadsE3nn(nn.Module):
    """A module that loads the ``state_dict`` of e3nn's, in which there are constants and empty tensors, too."""

    #: How the names of e3nn's constants begin: masks, and Wigner 3j symbols within generated code.
    e3nn_constants: ClassVar[tuple[str, ...]] = ("output_mask", "_compiled_main")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        constants = tuple(prefix + name for name in self.e3nn_constants)
        for key in [key for key in state_dict if key.startswith(constants)]:
            del state_dict[key]
        for name, own in self._parameters.items():
            given = state_dict.get(prefix + name)
            if own is None and given is not None and given.numel() == 0:
                del state_dict[prefix + name]
        super()._load_from_state_dict(state_dict, prefix, *rest)
