"""Inputs of a model besides the structure, read from ``atoms.info``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from e3frame.config.checks import input_label
from e3frame.data.pipeline.labels import read_label
from e3frame.spec.errors import DataError, UserError, did_you_mean
from e3frame.spec.quantities import quantity_of

if TYPE_CHECKING:
    from e3frame.algebra.irreps import Irreps


class FrameInputs:
    """Reads the inputs of a model from ``atoms.info``.

    Args:
        inputs: irreps of each input.
        keys: key that holds an input, if it differs from the name of the input.

    Raises:
        UserError: a key is given for an unknown input.
    """

    def __init__(self, inputs: Mapping[str, Irreps], keys: Mapping[str, str]) -> None:
        for name in keys:
            if name not in inputs:
                raise UserError(f"the model has no input '{name}'\n  {did_you_mean(name, inputs, 'inputs')}")
        self.inputs, self.keys = inputs, dict(keys)

    def read(self, atoms: Atoms, file: str | None = None, frame: int | None = None) -> dict[str, NDArray[np.float64]]:
        """The value of each input, (1, ...).

        Raises:
            DataError: a value is missing, not numeric, not finite, or has the wrong shape.
        """
        found = {}
        for name, irreps in self.inputs.items():
            key = self._key(name, atoms)
            if key not in atoms.info:
                problem = f"the model needs the input {name} ({irreps} per graph), but the frame has no key '{key}'"
                hint = f"set atoms.info['{key}']"
                if file is not None:
                    hint = f"existing keys: {', '.join(map(str, atoms.info)) or 'none'}; name it with keys.{name}=KEY"
                raise DataError(problem, file=file, frame=frame, hint=hint)
            bare = Atoms(info={key: atoms.info[key]})  # without results, of which one may have the same name
            found[name] = read_label(bare, name, key, input_label(irreps), file, frame)
        return found

    def changed(self, before: Mapping[str, NDArray[np.float64]], atoms: Atoms) -> bool:
        """Whether the inputs differ from those that :meth:`read` returned before. Values are compared, since arrays of
        ``atoms.info`` may be changed in place and ASE does not copy them."""
        try:
            now = self.read(atoms)
        except DataError:
            return True  # the calculation raises the error
        return any(name not in before or not np.array_equal(before[name], value) for name, value in now.items())

    def _key(self, name: str, atoms: Atoms) -> str:
        if name in self.keys:
            return self.keys[name]
        quantity = quantity_of(name)
        other = None if quantity is None else quantity.also_in
        return other if other is not None and name not in atoms.info and other in atoms.info else name
