"""Targets of a training run: outputs of the model, each with its label, loss and weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, core_schema

import e3frame.layers  # noqa: F401  (registers the layers that derive)
from e3frame.algebra.cartesian import cartesian_irreps
from e3frame.config.losses import LossSpec
from e3frame.config.written import Formula, Weight
from e3frame.data.sources.base import Label
from e3frame.spec import layer
from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.elements import Element
from e3frame.spec.errors import SpecError, did_you_mean
from e3frame.spec.irreps import IrrepsField
from e3frame.spec.layer import Name
from e3frame.spec.quantities import QUANTITIES, Quantity, quantity_of, value_shape
from e3frame.spec.registry import KindOf

ROWS = {"graph": "frame", "node": "atom", "edge": "edge"}
"""Words for one row of each domain."""


def way_to_learn(label: str) -> str:
    """Return the option that adds a target for a label."""
    form, quantity = "{irreps: ..., per: ...}", quantity_of(label)
    if quantity is not None:
        kinds = [kind for kind, name in derivations().items() if name == label]
        form = f"{{derive: {kinds[0]}, of: energy}}" if kinds else quantity.form
    return f"task.targets.{label}={form} trains on it"


def label_of(quantity: Quantity) -> Label:
    """Return the label of a quantity in the data."""
    return Label(quantity.per, quantity.shape)


def derivations() -> dict[str, str]:
    """Return the kinds of layers that take a derivative, with the quantity that each computes."""
    return {kind: member.derives for kind, member in layer.LayerSpec.members.items() if member.derives is not None}


class _Derivation:
    """Type of a key that takes the kind of a layer with a derivative, those of plugins included."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_derivation)

    @staticmethod
    def __get_pydantic_json_schema__(core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": sorted(derivations())}


def _derivation(kind: Any) -> str:
    options = sorted(derivations())
    if isinstance(kind, str) and kind in options:
        return kind
    hint = did_you_mean(shown(kind), options)
    match = hint if hint.startswith("did you mean") else None
    raise mistake(f"must be one of {', '.join(options)}; got {shown(kind)}", match)


class TargetSpec(Spec):
    """One output of the model and how it is trained. The target has the name of the output.

    One of ``irreps``, ``cartesian`` and ``derive`` defines the quantity.
    """

    irreps: IrrepsField | None = None
    """Irreps of the quantity: 0e for an energy, 1o for a dipole, 2x0e for two invariants."""
    cartesian: Formula | None = None
    """Symmetry of the indices of a Cartesian tensor: ``ij=ji`` for a polarizability (0e + 2e). Labels and predictions
    are Cartesian, in the order (x, y, z); the model's output and the loss are in irreps."""
    derive: Annotated[str, _Derivation] | None = None
    """Derive the quantity from the energy ``of``: negative_gradient for forces, strain_gradient for a stress. Sets
    irreps and per; the model's output is added if missing."""
    of: Name | None = None
    """Output of the model to differentiate."""
    per: Literal["graph", "node", "edge"] | None = None
    """One value per graph, node (atom) or edge; required without ``derive``. Edges are ordered pairs of atoms within
    r_max; ``data.edges`` names the pairs of the labels."""
    sum: Name | None = None
    """For ``per: node``: compare the sum over a graph's atoms with this label, one per graph, such as partial charges
    if only the total charge is known."""
    key: str | None = Field(default=None, min_length=1)
    """Label to learn; null: the label with the target's name."""
    unit: str | None = None
    """Unit of the label, shown in messages and tables; null: eV for energy, eV/Å for forces, and so on; none for
    unknown labels."""
    weight: Weight = 1.0
    """Factor of this target's loss; 0: report errors only. ``{0: 1, 100: 10}``: 1 at first, 10 after 100 epochs. The
    losses that are reported and choose the best checkpoint always use the last weights. A large jump of the weight at a
    high learning rate costs some epochs, because Adam scales steps by past gradients."""
    loss: KindOf[LossSpec] = "mse"
    """mse (mean squared error), mae (mean absolute error), huber (squared below ``huber_delta``, linear above), or a
    mapping with the keys of a loss: ``{kind: huber, delta: 0.1}``."""
    huber_delta: float | None = Field(default=None, gt=0)
    """Difference at which the Huber loss changes from squared to linear, in the unit of the target; null: 0.01."""
    per_atom: bool = False
    """Divide the value by the number of atoms in the loss, so that large and small molecules count equally."""
    species_weights: dict[Element, float] | None = None
    """For ``per: node``: loss factor per species, such as ``{H: 0.5}``; 1 for species not listed."""
    component_weights: tuple[float, ...] | None = None
    """Loss factor per irrep, in order: two numbers for 2x0e, or for the 0e + 2e of a polarizability. All components of
    an irrep share it, so that the loss is invariant under rotation."""

    @model_validator(mode="after")
    def _one_definition(self) -> TargetSpec:
        ways = [way for way in ("irreps", "cartesian", "derive") if getattr(self, way) is not None]
        if not ways:
            raise mistake("one of irreps, cartesian and derive is required", "for example irreps: 0e")
        if len(ways) > 1:
            problem = f"{ways[0]} and {ways[1]} both define the target"
            raise mistake_at(ways[1], getattr(self, ways[1]), mistake(problem, "remove one of them", at_key=True))
        if self.derive is not None and self.per is not None:
            problem = f"{self.derive} is always per {self.type.domain}"
            raise mistake_at("per", self.per, mistake(problem, "remove per", at_key=True))
        if self.derive is None and self.per is None:
            raise mistake("per is required: graph, node or edge")
        if (self.derive is None) != (self.of is None):
            if self.of is None:
                raise mistake("of is required: the output to differentiate", "for example of: energy")
            raise mistake_at("of", self.of, mistake("of needs derive", "remove of, or add derive", at_key=True))
        return self

    @model_validator(mode="after")
    def _consistent(self) -> TargetSpec:
        per_node = self.type.domain == "node"
        wrong = {
            "sum": (self.sum is not None and not per_node, "sum needs per: node"),
            "key": (self.sum is not None and self.key is not None, "sum already names the label"),
            "per_atom": (
                self.per_atom and self.label.per != "graph",
                f"with per: {self.label.per}, every value belongs to one {ROWS[self.label.per]} already",
            ),
            "huber_delta": (
                self.huber_delta is not None and self.loss != "huber",
                f"huber_delta needs loss: huber, got {self.loss if isinstance(self.loss, str) else 'a mapping'}",
            ),
            "species_weights": (
                self.species_weights is not None and self.label.per != "node",
                f"species_weights need a value per atom, but this target has one per {self.label.per}",
            ),
        }
        for key, (is_wrong, problem) in wrong.items():
            if is_wrong:
                raise mistake_at(key, getattr(self, key), mistake(problem, f"remove {key}"))
        given, irreps = self.component_weights, self.type.irreps
        if given is not None and len(given) != irreps.num_irreps:
            problem = f"one weight per irrep is required: {irreps} has {irreps.num_irreps}, got {len(given)} weights"
            raise mistake_at("component_weights", given, mistake(problem))
        for key in ("species_weights", "component_weights"):
            weights = getattr(self, key) or ()
            numbers = list(weights.values()) if isinstance(weights, dict) else list(weights)
            if any(number < 0 for number in numbers):
                raise mistake_at(key, weights, mistake(f"weights must be >= 0, got {min(numbers):g}"))
        return self

    @property
    def type(self) -> layer.TensorType:
        """Type that the model's output must have."""
        if (derived := self.derived) is not None:
            return layer.TensorType(derived.type, derived.per)
        irreps = self.irreps if self.cartesian is None else cartesian_irreps(self.cartesian)
        assert irreps is not None, "a validated target has irreps"
        assert self.per is not None, "a validated target has per"
        return layer.TensorType(irreps, self.per)

    @property
    def formula(self) -> str | None:
        """Symmetry of the indices if labels and predictions are Cartesian, else None."""
        return self.cartesian if self.derived is None else self.derived.cartesian

    @property
    def derived(self) -> Quantity | None:
        """Derived quantity, or None if the target is not derived."""
        return None if self.derive is None else QUANTITIES[derivations()[self.derive]]

    @property
    def label(self) -> Label:
        """Label that the data must have: one number for 0e, a vector for 1o, a matrix for ij=ji."""
        field = self.type
        return Label("graph" if self.sum is not None else field.domain, value_shape(field.irreps, self.formula))

    def idle(self) -> Iterator[SpecError]:
        """Yield the options that have no effect, with paths from this spec."""
        if self.trained:
            return
        for key in ("loss", "huber_delta", "species_weights", "component_weights"):
            if getattr(self, key) != type(self).model_fields[key].default:
                problem = f"{key} has no effect, because the weight is 0"
                yield SpecError((key,), problem, f"remove {key}, or give a weight above 0")

    @property
    def loss_spec(self) -> LossSpec:
        """The loss with all its keys."""
        given = LossSpec.named(self.loss)
        return given if self.huber_delta is None else given.replace(delta=self.huber_delta)

    def weight_at(self, epoch: int) -> float:
        """Return the weight after ``epoch`` finished epochs."""
        if isinstance(self.weight, dict):
            return self.weight[max(start for start in self.weight if start <= epoch)]
        return self.weight

    @property
    def last_weight(self) -> float:
        """Weight after all changes; reported losses use it."""
        return self.weight[max(self.weight)] if isinstance(self.weight, dict) else self.weight

    @property
    def trained(self) -> bool:
        """Whether the weight is ever above 0."""
        return max(self.weight.values()) > 0 if isinstance(self.weight, dict) else self.weight > 0


class TaskSpec(Spec):
    """Targets of a run."""

    targets: dict[Name, TargetSpec] = Field(min_length=1)
    """Targets by name: outputs of the model to train, or only to report."""

    @field_validator("targets")
    @classmethod
    def _something_to_train(cls, targets: dict[str, TargetSpec]) -> dict[str, TargetSpec]:
        if not any(target.trained for target in targets.values()):
            raise mistake("no target has a weight above 0: there is nothing to train")
        if not any(target.last_weight > 0 for target in targets.values()):
            raise mistake("no target has a last weight above 0, so no checkpoint would be the best")
        return targets

    @model_validator(mode="after")
    def _one_form_of_a_label(self) -> TaskSpec:
        forms: dict[str, tuple[str, Label]] = {}
        for name, target in self.targets.items():
            first, label = forms.setdefault(self.key(name), (name, target.label))
            if label != target.label:
                problem = f"'{first}' and '{name}' need the label '{self.key(name)}' in different shapes"
                raise mistake_at("targets", self.targets, mistake(problem, "name another label with key"))
        return self

    def key(self, name: str) -> str:
        """Return the data's label that trains target ``name``."""
        target = self.targets[name]
        return target.sum or target.key or name

    def unit(self, name: str) -> str:
        """Return the unit of target ``name``, empty if it has none."""
        target = self.targets[name]
        if target.unit is not None:
            return target.unit
        quantity = quantity_of(self.key(name)) or quantity_of(name)
        return quantity.unit if quantity else ""

    @property
    def labels(self) -> dict[str, Label]:
        """Labels to load, by their names in the data."""
        return {self.key(name): target.label for name, target in self.targets.items()}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of all validation metrics, which schedulers and checkpoints can monitor."""
        return ("val_loss", *(f"val_{name}_{error}" for name in self.targets for error in ("mae", "rmse")))
