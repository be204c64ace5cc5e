"""What all losses have in common, and how a config names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from e3frame.spec.base import mistake, shown
from e3frame.spec.errors import did_you_mean
from e3frame.spec.registry import FAMILY, Kinded

if TYPE_CHECKING:
    from torch import Tensor

NEEDS = ("difference", "prediction", "label")


class LossSpec(Kinded, family="loss"):
    """The loss of each entry of a target, which is one component of one graph, atom or edge.

    The loss of the target is the mean over all entries that have a label. With ``per_atom`` all values are divided by
    the number of atoms first.
    """

    saved = True
    needs: ClassVar[tuple[str, ...]] = ("difference",)
    """Which tensors :meth:`each` takes, by keyword: ``difference`` (prediction - label), ``prediction``, ``label``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if unknown := set(cls.needs) - set(NEEDS):
            raise TypeError(f"a loss may need {', '.join(NEEDS)}; {cls.__name__} needs {', '.join(sorted(unknown))}")

    def each(self, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of each entry: (rows, components) in float64, of the same shape as the tensors that it needs.

        Where prediction and label are equal it must be finite, with finite gradients, and of a difference of 0 it must
        be 0: an entry without a label has the prediction for one.
        """
        raise NotImplementedError(f"{type(self).__name__}.each")


class _Loss:
    """The name of a kind, or a mapping with its keys."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _read, serialization=core_schema.plain_serializer_function_ser_schema(_written)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": sorted(LossSpec.members)}, {FAMILY: LossSpec.family}]}


def _read(raw: Any, info: ValidationInfo) -> str | LossSpec:
    if isinstance(raw, LossSpec | Mapping):
        return LossSpec.parse(raw, info)
    options = sorted(LossSpec.members)
    if raw not in options:
        hint = did_you_mean(shown(raw), options)
        problem = f"must be one of {', '.join(options)}; got {shown(raw)}"
        raise mistake(problem, hint if hint.startswith("did you mean") else None)
    LossSpec.parse({"kind": raw}, info)  # no key of it may be required
    return str(raw)


def _written(loss: str | LossSpec) -> Any:
    return loss if isinstance(loss, str) else loss.model_dump(mode="json")


AnyLoss = Annotated[str | LossSpec, _Loss]
"""``huber``, or ``{kind: huber, delta: 0.1}``."""
