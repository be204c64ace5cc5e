"""From a batch of graphs to the mapping of tensors that a model takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch

from e3frame.data.pipeline.graphs import Graph


def model_input(batch: Batch | Graph, dtype: torch.dtype | None = None, inputs: Collection[str] = ()) -> dict[str, Any]:
    """``pos`` (n, 3), ``z`` (n,), ``edge_index`` (2, e), ``edge_shift`` (e, 3), ``cell`` (g, 3, 3), ``batch`` (n,),
    int ``num_graphs``, and the model's ``inputs``, (g, ...) each.

    ``pos``, ``edge_shift``, ``cell`` and the inputs are cast to ``dtype`` (None: as they are); labels stay behind. A
    single graph is a batch of one.
    """
    owner: Tensor | None = batch.batch
    if owner is None:
        owner = batch.z.new_zeros(len(batch.z))
    return {
        "pos": batch.pos.to(dtype=dtype),
        "z": batch.z,
        "edge_index": batch.edge_index,
        "edge_shift": batch.edge_shift.to(dtype=dtype),
        "cell": batch.cell.to(dtype=dtype),
        "batch": owner,
        "num_graphs": len(batch.frame),
        **{name: batch[name].to(dtype=dtype) for name in inputs},
    }
