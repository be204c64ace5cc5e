"""Specs that are chosen by their ``kind``: layers, data sets, optimizers, envelopes, ...

A family is a class that derives from :class:`Kinded` with ``family="layer"``; each subclass with a ``kind`` is a member
and registers itself when it is defined, so that a new member is a new class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from e3frame.spec.base import Spec, mistake, mistake_at, shown
from e3frame.spec.errors import did_you_mean

FAMILY = "x-family"
"""Placeholder in JSON Schema for any member of a family, until all members are known."""


def import_all(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that the kinds that they define register themselves."""
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")


class Kinded(Spec):
    """Base of a family of specs. ``kind`` has a ``Literal`` type whose one value is also its default."""

    family: ClassVar[str]
    members: ClassVar[dict[str, type[Self]]]
    saved: ClassVar[bool] = False
    """Whether members of the family are saved in the file of a trained model."""
    if TYPE_CHECKING:
        kind: str

    def __init_subclass__(cls, family: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family is not None:
            cls.family, cls.members = family, {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        field: FieldInfo | None = cls.model_fields.get("kind")
        if field is None or not isinstance(field.default, str):
            return
        known = cls.members.get(field.default)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"{cls.family} kind {field.default!r} is defined twice: "
                f"{known.__module__}.{known.__qualname__} and {cls.__module__}.{cls.__qualname__}"
            )
        cls.members[field.default] = cls  # type: ignore[assignment]  # a subclass, among those of its family

    @classmethod
    def families(cls) -> list[type[Kinded]]:
        """Return all families."""
        return [family for family in Kinded.__subclasses__() if "members" in vars(family)]

    @classmethod
    def parse(cls, raw: Any, info: ValidationInfo | None = None) -> Self:
        """Validate ``raw`` as the member named by ``raw["kind"]``.

        Raises:
            pydantic.ValidationError, PydanticCustomError: ``raw`` is invalid; the message has our wording.
        """
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, Mapping):
            raise mistake(f"a mapping with a 'kind' is required, got {shown(raw)}", cls._kinds_hint(""))
        if "kind" not in raw:
            raise mistake(f"'kind' is required: it names the {cls.family}", cls._kinds_hint(""))
        kind = raw["kind"]
        if not isinstance(kind, str) or kind not in cls.members:
            raise mistake_at("kind", kind, mistake(f"no {cls.family} is named {shown(kind)}", cls._kinds_hint(kind)))
        return cls.members[kind].model_validate(raw, context=info.context if info else None)

    @classmethod
    def named(cls, given: str | Self) -> Self:
        """Return the member of a field of type :data:`KindOf`, given by its kind or as the member itself."""
        return cls.parse({"kind": given}) if isinstance(given, str) else given

    @classmethod
    def _kinds_hint(cls, kind: Any) -> str:
        return did_you_mean(str(kind), sorted(cls.members), "kinds")


if TYPE_CHECKING:
    F = TypeVar("F", bound=Kinded)
    OneOf = Annotated[F, "member"]
    KindOf = Annotated[str | F, "kind or member"]
else:

    class OneOf:
        """``OneOf[Family]``: field that takes any member of the family."""

        def __class_getitem__(cls, family: type[Kinded]) -> Any:
            return Annotated[
                SerializeAsAny[family],
                BeforeValidator(lambda raw, info: family.parse(raw, info)),
                WithJsonSchema({FAMILY: family.family}),
            ]

    class KindOf:
        """``KindOf[Family]``: field that takes a kind, ``huber``, or a mapping, ``{kind: huber, delta: 0.1}``."""

        def __class_getitem__(cls, family: type[Kinded]) -> Any:
            return Annotated[str | SerializeAsAny[family], _KindOf(family)]


class _KindOf:
    def __init__(self, family: type[Kinded]) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(
            lambda given: given if isinstance(given, str) else given.model_dump(mode="json")
        )
        return core_schema.with_info_plain_validator_function(self._read, serialization=written)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "enum": sorted(self.family.members)}, {FAMILY: self.family.family}]}

    def _read(self, raw: Any, info: ValidationInfo) -> str | Kinded:
        if isinstance(raw, self.family | Mapping):
            return self.family.parse(raw, info)
        options = sorted(self.family.members)
        if raw not in options:
            hint = did_you_mean(shown(raw), options)
            problem = f"must be one of {', '.join(options)}; got {shown(raw)}"
            raise mistake(problem, hint if hint.startswith("did you mean") else None)
        self.family.parse({"kind": raw}, info)  # raises if one of its keys is required
        return str(raw)
