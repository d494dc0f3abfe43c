"""Option types that the verbs share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range of numbers; ``nan`` and ``inf``, which pass click's comparisons, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class NotEmpty(click.ParamType):
    """Text that names something: a file, a folder, a checkpoint. ``""``, which a path takes for ``.``, is refused."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("the name is empty; the current folder is '.'.", param, ctx)
        return value


class NamedPath(click.Path):
    """A path that is not empty, as :class:`pathlib.Path`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(NotEmpty().convert(value, param, ctx), param, ctx)


PATH = NamedPath()
NAME = NotEmpty()
