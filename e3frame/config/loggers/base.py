"""The base of all loggers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import model_validator

from e3frame.spec.base import mistake, mistake_at
from e3frame.spec.registry import Kinded

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class LoggerSpec(Kinded, family="logger"):
    """A tool that shows the course of a run."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages of which one is needed."""

    @model_validator(mode="after")
    def _installed(self) -> LoggerSpec:
        if self.packages and all(find_spec(package) is None for package in self.packages):
            package = self.packages[0]
            wrong = mistake(f"the package {package} is not installed", f"pip install {package}, or logger=csv")
            raise mistake_at("kind", package, wrong)
        return self

    def build(self, folder: Path, step: int = 0) -> Logger | None:
        """The logger of a run, None where ``metrics.csv`` is enough.

        Args:
            folder: of the run.
            step: where it goes on; what an earlier session logged later than that no longer counts.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")
