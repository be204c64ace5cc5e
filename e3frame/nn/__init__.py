"""Plain torch building blocks of equivariant networks, each usable without YAML."""

from __future__ import annotations

from e3frame.nn.activation import Activation
from e3frame.nn.batch_norm import BatchNorm
from e3frame.nn.concatenate import Concatenate
from e3frame.nn.convolution import Convolution
from e3frame.nn.dropout import Dropout
from e3frame.nn.extract import Extract, ExtractIr
from e3frame.nn.gate import Gate
from e3frame.nn.geometry import EdgeVectors, edge_vectors, safe_norm
from e3frame.nn.gradient import NegativeGradient
from e3frame.nn.identity import Identity
from e3frame.nn.layer_norm import LayerNorm
from e3frame.nn.message import Message
from e3frame.nn.mlp import FullyConnectedNet
from e3frame.nn.norm_activation import NormActivation
from e3frame.nn.radial import (
    BesselBasis,
    ChebyshevBasis,
    CosineEnvelope,
    GaussianBasis,
    PolynomialEnvelope,
    RadialBasis,
    XplorEnvelope,
)
from e3frame.nn.reduce import Add, EdgesToNodes, GraphToNodes, NodesToEdges, Pool, group_mean, group_sum
from e3frame.nn.rms_norm import RMSNorm
from e3frame.nn.scale_shift import PerSpeciesScaleShift
from e3frame.nn.self_connection import SelfConnection
from e3frame.nn.species import SpeciesEmbedding, SpeciesIndex
from e3frame.nn.sphere_activation import S2Activation, SO3Activation
from e3frame.nn.transform import AgnesiTransform, SoftTransform
from e3frame.nn.zbl import ZBL

__all__ = [
    "ZBL",
    "Activation",
    "Add",
    "AgnesiTransform",
    "BatchNorm",
    "BesselBasis",
    "ChebyshevBasis",
    "Concatenate",
    "Convolution",
    "CosineEnvelope",
    "Dropout",
    "EdgeVectors",
    "EdgesToNodes",
    "Extract",
    "ExtractIr",
    "FullyConnectedNet",
    "Gate",
    "GaussianBasis",
    "GraphToNodes",
    "Identity",
    "LayerNorm",
    "Message",
    "NegativeGradient",
    "NodesToEdges",
    "NormActivation",
    "PerSpeciesScaleShift",
    "Pool",
    "PolynomialEnvelope",
    "RMSNorm",
    "RadialBasis",
    "XplorEnvelope",
    "S2Activation",
    "SO3Activation",
    "SelfConnection",
    "SoftTransform",
    "SpeciesEmbedding",
    "SpeciesIndex",
    "edge_vectors",
    "group_mean",
    "group_sum",
    "safe_norm",
]
