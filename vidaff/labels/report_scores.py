"""Agreement with the truth, over classes and over all pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import fmean
from typing import Final, NamedTuple, TypeVar

from vidaff.labels.report_looks import KINDS, USED, Look

COLUMNS: Final = (*KINDS, USED)
Key = TypeVar("Key", bound=Hashable)


class Agreement(NamedTuple):
    """Mean IoU with the truth over pictures; one without a label counts as 0.

    Attributes:
        pictures: how many.
        iou: by kind and for the label that training takes; None for a kind that was not made of all of them.
        without: pictures without such a label, by kind.
    """

    pictures: int
    iou: dict[str, float | None]
    without: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """Plain numbers, rounded to 4 decimals."""
        values = {kind: None if value is None else round(value, 4) for kind, value in self.iou.items()}
        return {"pictures": self.pictures, "iou": values, "without_label": self.without}


def agreement(looks: Iterable[Look]) -> Agreement | None:
    """Agreement of the pictures with truth for which initial labels were tried; None when there are none."""
    scored = [look for look in looks if look.truth is not None and "initial" in look.ran]
    if not scored:
        return None
    iou: dict[str, float | None] = {}
    without: dict[str, int] = {}
    for kind in COLUMNS:
        made = kind == USED or all(kind in look.ran for look in scored)
        iou[kind] = fmean(look.truth[kind] for look in scored if look.truth is not None) if made else None
        if made:
            without[kind] = sum(look.used is None if kind == USED else kind not in look.areas for look in scored)
    return Agreement(len(scored), iou, without)


def refined_scope(looks: Sequence[Look]) -> list[Look]:
    """Pictures for which every refined kind that was made at all was tried: all kinds are compared on the same ones."""
    made = frozenset().union(*(look.ran for look in looks)) - {"initial"}
    return [look for look in looks if made <= look.ran] if made else []


def by(looks: Iterable[Look], key: Callable[[Look], Key]) -> dict[Key, list[Look]]:
    """Looks by ``key``, in the order in which keys are met."""
    groups: dict[Key, list[Look]] = {}
    for look in looks:
        groups.setdefault(key(look), []).append(look)
    return groups
