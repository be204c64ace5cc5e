"""The weights that modules own, their exchange with e3nn."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class LoadsE3nn(nn.Module):
    """A module that loads the ``state_dict`` of e3nn's, in which there are constants and empty tensors, too.

    `state_dict_for_e3nn` goes the other way.
    """

    #: How the names of e3nn's constants begin: masks, and Wigner 3j symbols within generated code.
    e3nn_constants: ClassVar[tuple[str, ...]] = ("output_mask", "_compiled_main")

    def _own_weights(self, name: str, initial: Tensor | None) -> None:
        """Learn a tensor from ``initial``; or hold an empty one, as e3nn does, that is not saved."""
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
    """The state of a module or model for the same one of e3nn, ``theirs.load_state_dict(..., strict=True)``.

    e3nn saves constants and empty tensors, which are not saved here and are those of ``theirs``. Every parameter comes
    from ``module``: one that it lacks is missing in the result, one of its own is unexpected, and ``strict`` says so.
    """
    constants = dict(theirs.named_buffers())
    return {k: v for k, v in theirs.state_dict().items() if k in constants} | module.state_dict()
