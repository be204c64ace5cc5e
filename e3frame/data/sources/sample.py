"""``data=sample``: GFN2-xTB molecular dynamics of four small molecules, shipped with the package.

Made by ``scripts/make_sample.py``, which says how.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from e3frame.data.sources.base import DataSpec, Label
from e3frame.spec.base import mistake, mistake_at
from e3frame.spec.elements import ATOMIC_NUMBERS
from e3frame.spec.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from e3frame.data.pipeline.dataset import Splits
    from e3frame.data.pipeline.graphs import Graph
    from e3frame.data.pipeline.prepare import Chunk
    from e3frame.data.pipeline.sampled import Sample

FILE = Path(__file__).with_name("sample.npz")
MOLECULES = {
    "ethanol": ("H", "C", "O"),
    "acetamide": ("H", "C", "N", "O"),
    "acetic_acid": ("H", "C", "O"),
    "furan": ("H", "C", "O"),
}
"""Elements of each molecule."""
LABELS = {
    "energy": Label("graph"),
    "forces": Label("node", (3,)),
    "dipole": Label("graph", (3,)),
    "polarizability": Label("graph", (3, 3)),
}
"""In eV, eV/Å, e*Å, Å^3. The minimal basis makes the polarizability about half of what is measured."""
TRAIN_FRAMES = 450
"""Training frames of each molecule."""


class SampleSpec(DataSpec):
    """Ethanol, acetamide, acetic acid and furan at 500 K: 450 training, 50 validation and 100 test frames of each,
    split by time. Labels: energy, forces, dipole, polarizability."""

    kind: Literal["sample"] = "sample"
    molecules: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Some of ethanol, acetamide, acetic_acid, furan; null: all."""
    num_train: int | None = Field(default=None, ge=1)
    """Training frames, taken at even distances from all; null: all."""

    @field_validator("molecules")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in MOLECULES:
                raise mistake(f"no molecule is called {name}", did_you_mean(name, MOLECULES, "molecules"))
        return names if names is None else tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _enough(self) -> SampleSpec:
        available = TRAIN_FRAMES * len(self.chosen)
        if self.num_train is not None and self.num_train > available:
            problem = f"{self.num_train} training frames are asked for, there are {available}"
            raise mistake_at("num_train", self.num_train, mistake(problem))
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        return self.molecules or tuple(MOLECULES)

    @property
    def label_names(self) -> tuple[str, ...]:
        return tuple(LABELS)

    @property
    def known_species(self) -> tuple[str, ...]:
        return tuple(sorted({s for name in self.chosen for s in MOLECULES[name]}, key=ATOMIC_NUMBERS.__getitem__))

    def load(self, r_max: float, labels: Mapping[str, Label]) -> Splits:
        import numpy as np

        from e3frame.data.pipeline.dataset import Splits, content_key, load_or_build

        self._require_held(labels)
        stored = self.neighbors == "stored"
        key = content_key([FILE], [r_max, stored, self._apart])
        path = self.cache_folder() / f"sample-{key}.safetensors"
        with np.load(FILE) as arrays:
            parts = self._divided(arrays)
            build = partial(_chunks, arrays, r_max, stored, self._apart)
            dataset = load_or_build(path, ["data=sample"], build, r_max, self.storage)
        return Splits(**{name: dataset[part] for name, part in parts.items()})

    def sample(self, r_max: float, labels: Mapping[str, Label]) -> Sample:
        import numpy as np

        from e3frame.data.pipeline.dataset import GraphDataset, Splits
        from e3frame.data.pipeline.prepare import pack
        from e3frame.data.pipeline.sampled import Sample, thinned

        self._require_held(labels)
        with np.load(FILE) as arrays:
            parts = self._divided(arrays)
            few = thinned(parts)
            chosen = np.sort(np.concatenate(list(few.values())))
            whole = GraphDataset.from_chunks(
                [pack(_graphs(arrays, r_max, self._apart, set(chosen.tolist())))], ["data=sample"]
            )
        splits = Splits(**{name: whole[np.searchsorted(chosen, part)] for name, part in few.items()})
        return Sample(splits, {name: len(part) for name, part in parts.items()})

    @property
    def _apart(self) -> bool:
        return "isolated_atoms" in self.allow

    def _require_held(self, labels: Mapping[str, Label]) -> None:
        self.require_declared(labels)
        for name, label in labels.items():
            if LABELS[name] != label:
                held = LABELS[name]
                raise DataError(f"{name} is of shape {held.shape} per {held.per}, not {label.shape} per {label.per}")

    def _divided(self, arrays: Mapping[str, Any]) -> dict[str, NDArray[np.int64]]:
        """The places of the frames of each split among all."""
        import numpy as np

        molecule = np.concatenate([np.full(len(arrays[f"{name}.split"]), k) for k, name in enumerate(MOLECULES)])
        split = np.concatenate([arrays[f"{name}.split"] for name in MOLECULES])
        mine = np.isin(molecule, [list(MOLECULES).index(name) for name in self.chosen])
        train, val, test = (np.flatnonzero(mine & (split == number)) for number in range(3))
        if self.num_train is not None:
            train = train[np.arange(self.num_train) * len(train) // self.num_train]
        return {"train": train, "val": val, "test": test}


def _chunks(arrays: Mapping[str, Any], r_max: float, stored: bool, apart: bool) -> list[Chunk]:
    from e3frame.data.pipeline.graphs import without_edges
    from e3frame.data.pipeline.prepare import pack

    graphs = _graphs(arrays, r_max, apart)
    return [pack(graphs if stored else map(without_edges, graphs))]


def _graphs(
    arrays: Mapping[str, Any], r_max: float, apart: bool, chosen: Container[int] | None = None
) -> Iterator[Graph]:
    import numpy as np
    from ase import Atoms

    from e3frame.data.pipeline.graphs import make_graph
    from e3frame.data.pipeline.prepare import require_connected

    first = 0
    for name in MOLECULES:
        data = {key: arrays[f"{name}.{key}"].astype(np.float64) for key in ("pos", *LABELS)}
        z = arrays[f"{name}.z"]
        alpha = data["polarizability"][:, [0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(-1, 3, 3)
        for k, positions in enumerate(data["pos"]):
            if chosen is not None and first + k not in chosen:
                continue
            labels = {
                "energy": data["energy"][k : k + 1],
                "forces": data["forces"][k],
                "dipole": data["dipole"][k : k + 1],
                "polarizability": alpha[k : k + 1],
            }
            graph = make_graph(Atoms(z, positions), r_max, labels, first + k)
            if not apart:
                require_connected(graph, "data=sample", r_max)
            yield graph
        first += len(alpha)
