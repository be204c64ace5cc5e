"""Predictions of a model for the structures of files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_extxyz
from numpy.typing import NDArray

from e3frame.data.formats.ase_files import read_frames, stated_units
from e3frame.data.formats.stated_units import combined
from e3frame.data.pipeline.graphs import Graph, checked
from e3frame.files.opened import require_file
from e3frame.files.regular import require_new
from e3frame.files.written import rewritten
from e3frame.inference.device import Device, without_modes
from e3frame.inference.predictor import Predictor, as_ase, ase_name, edges_of
from e3frame.spec.errors import DataError, UserError
from e3frame.spec.units import Units


def predict(
    model: str | Path,
    files: Sequence[str | Path],
    out: str | Path,
    *,
    format: str | None = None,
    units: Units | None = None,
    batch_size: int = 64,
    device: Device = "cpu",
    plugins: Collection[str] = (),
    keys: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> int:
    """Write the frames of ``files`` with the model's predictions into an extended XYZ file.

    Other entries of the frames are kept. Lengths are in Å, energies in eV, forces in eV/Å, stresses in eV/Å^3. Tensors
    that were trained as Cartesian are written so: matrices per frame, rows of components per atom. Outputs per edge are
    written per frame, their pairs of atoms under ``<name>_index`` and, in periodic frames, the images under
    ``<name>_shift``, as ``data.edges`` reads them.

    Args:
        model, device, plugins, keys: as for :class:`e3frame.inference.predictor.Predictor`.
        files: files of any format that ASE reads.
        out: file to write, in one step.
        format: ASE's name of the format of ``files``; None: found by name and content.
        units: units of the lengths in ``files``.
        batch_size: number of frames that are predicted together.
        overwrite: whether to replace ``out`` if it exists.

    Returns:
        The number of frames.

    Raises:
        UserError: ``out`` exists, or the model cannot be read.
        DataError: a frame cannot be read, lacks an input of the model, or has an element that is unknown to it.
    """
    out = Path(out)
    require_new(out, overwrite)
    predictor = Predictor(model, device, plugins=plugins, keys=keys)
    frames = _frames([str(file) for file in files], format, units or Units())
    count = 0
    try:
        with rewritten(out) as handle, without_modes(predictor.device):
            while chunk := list(islice(frames, batch_size)):
                write_extxyz(handle, _predicted(chunk, predictor))
                count += len(chunk)
    except OSError as error:
        if error.filename not in (None, str(out)):
            raise DataError(f"cannot be read: {error.strerror}", file=os.fsdecode(error.filename)) from None
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    return count


def _predicted(frames: Sequence[tuple[Atoms, str, int]], predictor: Predictor) -> list[Atoms]:
    """Copies of frames, each given with its file and number, that hold the predictions."""
    graphs = [predictor.graph(*frame) for frame in frames]
    found = predictor.run(graphs, [(file, number) for _, file, number in frames])
    each = zip(frames, graphs, found, strict=True)
    return [_with(atoms, graph, values, predictor) for (atoms, _, _), graph, values in each]


def _frames(files: Sequence[str], format: str | None, units: Units) -> Iterator[tuple[Atoms, str, int]]:
    for file in files:
        require_file(file)
        length = combined(units, stated_units(file, format), {}, file, ["length"]).length_factor()
        for frame, atoms in read_frames(file, format):
            yield checked(atoms, length, file, frame), file, frame


def _with(atoms: Atoms, graph: Graph, values: Mapping[str, NDArray[np.float64]], predictor: Predictor) -> Atoms:
    """A copy of the frame with these values, which replace entries of the same name."""
    labelled = atoms.copy()
    results = {}
    for name, value in values.items():
        labelled.info.pop(name, None)
        labelled.arrays.pop(name, None)
        if (called := ase_name(name)) is not None:
            results[called] = as_ase(name, value)
        elif predictor.outputs[name].domain == "node":
            labelled.arrays[name] = value.reshape(len(value), -1)
        elif predictor.outputs[name].domain == "graph":
            labelled.info[name] = as_ase(name, value)
        else:
            labelled.info[name] = value.reshape(-1) if value.shape[1:] == (1,) else value
            index, shift = edges_of(atoms, graph)
            labelled.info |= {f"{name}_index": index} | ({} if shift is None else {f"{name}_shift": shift})
    labelled.calc = SinglePointCalculator(labelled, **results)
    return labelled
