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
    """Tool that shows the progress of a run."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages, any one of which is enough."""

    @model_validator(mode="after")
    def _installed(self) -> LoggerSpec:
        if self.packages and all(find_spec(package) is None for package in self.packages):
            package = self.packages[0]
            wrong = mistake(f"the package {package} is not installed", f"pip install {package}, or logger=csv")
            raise mistake_at("kind", package, wrong)
        return self

    def build(self, folder: Path, step: int = 0) -> Logger | None:
        """Build the logger of a run; None for ``metrics.csv`` alone.

        Args:
            folder: folder of the run.
            step: step from which the run resumes; entries of an earlier session after it are dropped.
        """
        raise NotImplementedError(f"{type(self).__name__}.build")
