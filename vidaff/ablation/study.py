"""What an ablation consists of: variants, how each is trained and scored, and which differences are of interest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Metric:
    """A number of an evaluation.

    ``evaluation``: name of an :class:`Evaluation`; ``path``: keys that lead to it in that evaluation's results.json;
    ``higher`` says whether higher is better; ``digits`` how many decimals its published values have.
    """

    key: str
    title: str
    evaluation: str
    path: tuple[str, ...]
    higher: bool = True
    digits: int = 2


@dataclass(frozen=True)
class Variant:
    """One configuration: ``changes`` are overrides of the recipe, ``paper`` published values by metric key.

    A row of another model names it in ``model``, and is trained by the recipe ``recipe``.
    """

    name: str
    title: str
    changes: tuple[str, ...] = ()
    paper: Mapping[str, float] = field(default_factory=dict)
    model: str | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Arguments of ``vidaff eval`` beside the checkpoint, the data and the output folder."""

    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The claim that (variant, metric) ``better`` beats (variant, metric) ``worse``."""

    claim: str
    better: tuple[str, str]
    worse: tuple[str, str]


@dataclass(frozen=True)
class Study:
    """A whole ablation.

    Args:
        title: heading of the report.
        dataset: name for ``--dataset``.
        variants: rows of the table.
        evaluations: how a checkpoint is scored; each is one call of ``vidaff eval``.
        metrics: columns of the table.
        comparisons: differences that are counted seed by seed.
        data: gives the prepared data of a variant; called before the first training.
        source: where the published numbers are from.
        arguments: further arguments of ``vidaff train``.
    """

    title: str
    dataset: str
    variants: tuple[Variant, ...]
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[Metric, ...]
    comparisons: tuple[Comparison, ...]
    data: Callable[[Variant], Path]
    source: str
    arguments: tuple[str, ...] = ()
