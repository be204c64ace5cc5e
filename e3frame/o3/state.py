"""Exchange of weights with e3nn."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class LoadsE3nn(nn.Module):
    """A module that loads the ``state_dict`` of its e3nn counterpart, ignoring e3nn's constants and empty tensors.

    `state_dict_for_e3nn` is the inverse.
    """

    #: Prefixes of the names of e3nn's constants: masks, and Wigner 3j symbols in generated code.
    e3nn_constants: ClassVar[tuple[str, ...]] = ("output_mask", "_compiled_main")

    def _own_weights(self, name: str, initial: Tensor | None) -> None:
        """Register a parameter with initial values; without, an empty tensor that is not saved, as in e3nn."""
        if initial is None or initial.numel() == 0:
            self.register_buffer(name, torch.empty(0), persistent=False)
        else:
            self.register_parameter(name, nn.Parameter(initial))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        constants = tuple(prefix + name for name in self.e3nn_constants)
        for key in [key for key in state_dict if key.startswith(constants)]:
            del state_dict[key]
        for name in self._non_persistent_buffers_set:
            given = state_dict.get(prefix + name)
            if given is not None and given.numel() == 0:
                del state_dict[prefix + name]
        super()._load_from_state_dict(state_dict, prefix, *rest)


def state_dict_for_e3nn(module: nn.Module, theirs: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module in the form that ``theirs.load_state_dict(..., strict=True)`` takes.

    e3nn also saves constants and empty tensors; these are taken from ``theirs``. All parameters come from ``module``,
    so that ``strict`` reports any that only one of the two has.

    Args:
        module: a module or model of e3frame.
        theirs: the same module or model of e3nn.
    """
    constants = dict(theirs.named_buffers())
    return {k: v for k, v in theirs.state_dict().items() if k in constants} | module.state_dict()
