"""A slice of scripts/compare_products.py: products of random irreps on both libraries."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare_products.py"


def test_products_of_random_irreps_agree() -> None:
    spec = importlib.util.spec_from_file_location("compare_products", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # dataclasses look their module up
    spec.loader.exec_module(script)
    tallies = script.compare(12, seed=1)
    assert set(tallies) == {
        "FullyConnectedTensorProduct",
        "FullTensorProduct",
        "ElementwiseTensorProduct",
        "TensorSquare",
        "TensorProduct",
    }
    assert all(tally.outputs > 100 for tally in tallies.values())
    assert max(tally.worst for tally in tallies.values()) < script.TOLERANCE
