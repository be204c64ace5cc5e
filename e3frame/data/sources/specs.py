"""Every kind of data set that a config can name. A new kind's module is imported here, which registers it."""

from __future__ import annotations

from e3frame.data.sources.ase_db import AseDbSpec
from e3frame.data.sources.base import DataSpec, Label
from e3frame.data.sources.md17 import Md17Spec, Rmd17Spec
from e3frame.data.sources.npz import NpzSpec
from e3frame.data.sources.qm9 import Qm9Spec
from e3frame.data.sources.sample import SampleSpec
from e3frame.data.sources.splitting import SplitSpec
from e3frame.data.sources.xyz import XyzSpec
from e3frame.spec.registry import OneOf
from e3frame.spec.units import Units

AnyData = OneOf[DataSpec]
"""The type of a spec's field that takes any kind of data set."""

parse_data = DataSpec.parse
"""``parse_data(raw)``: the spec that ``raw["kind"]`` names, validated; usable as a pydantic BeforeValidator."""

__all__ = [
    "AnyData",
    "AseDbSpec",
    "DataSpec",
    "Label",
    "Md17Spec",
    "NpzSpec",
    "Qm9Spec",
    "Rmd17Spec",
    "SampleSpec",
    "SplitSpec",
    "Units",
    "XyzSpec",
    "parse_data",
]
