"""What a training on AGD20K tells of its pictures before it begins: how many, by which labels, and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from vidaff.datasets.agd20k import Agd20kTrain

SHOWN: Final = 3
"""Reasons that are named."""


def picture_counts(train: Agd20kTrain, *, labels: bool = True) -> dict[str, Any]:
    """Numbers for a checkpoint's ``info``: pictures by label, where ``labels`` are looked at, and what is missing."""
    counts: dict[str, Any] = {"skipped": len(train.skipped), "notes": len(train.notes)}
    return {"labels": dict(train.label_counts), **counts} if labels else counts


def picture_lines(train: Agd20kTrain, fit: int, *, labels: str | None = None) -> list[str]:
    """Lines for people.

    Args:
        train: the training pictures.
        fit: how many of them are trained on; the others are held out.
        labels: kind of label that is asked for, None where none is looked at.
    """
    held = f", {len(train) - fit} held out" if len(train) > fit else ""
    lines = [f"pictures: {fit} to train on{held}"]
    if labels is not None:
        kinds = sorted(train.label_counts.items(), key=lambda one: one[0] != labels)
        lines[0] += f"; labels: {', '.join(f'{count} {kind}' for kind, count in kinds)}"
    if train.skipped:
        lines.append(
            f"left out: {len(train.skipped)} of {len(train) + len(train.skipped)} pictures ({_reasons(train.skipped)})"
        )
    if train.notes:
        lines.append(
            f"{len(train.notes)} of {len(train)} pictures get exocentric ones without regard to similarity "
            f"({_reasons(train.notes)})"
        )
    if labels not in (None, "initial") and not train.label_counts.get(str(labels)):
        lines.append(
            f"warning: train.labels={labels}, but {train.places.folder} holds none, and every picture has its initial "
            "label; 'vidaff label' makes others, train.labels=initial takes these on purpose"
        )
    return lines


def _reasons(found: Sequence[tuple[str, str]]) -> str:
    """The first picture of each of the first few reasons."""
    first: dict[str, str] = {}
    for name, reason in found:
        first.setdefault(reason, name)
    more = "; ..." if len(first) > SHOWN else ""
    return "; ".join(f"{name}: {reason}" for reason, name in list(first.items())[:SHOWN]) + more
