"""Optimizers of the matrices in a model's weights, stacked by shape; AdamW steps all other weights."""

from __future__ import annotations

from e3frame.nn.optim.combined import WithAdamW
from e3frame.nn.optim.muon import Muon
from e3frame.nn.optim.soap import SOAP

__all__ = ["SOAP", "Muon", "WithAdamW"]
