"""Which pairs of affordance and object are refined: those whose initial labels the paper found wanting.

Source: Xu et al., ICLR 2025, the authors' code (the paper speaks of classes with a low baseline).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Pair = tuple[str, str]
"""Affordance and object."""

_SWUNG = ("badminton_racket", "baseball_bat", "tennis_racket")
SEEN: Final[frozenset[Pair]] = frozenset(
    {("throw", "javelin")}
    | {(verb, "suitcase") for verb in ("pick_up", "drag", "hold")}
    | {(verb, "skis") for verb in ("carry", "pick_up", "hold")}
    | {(verb, "snowboard") for verb in ("carry", "hold")}
    | {(verb, thing) for verb in ("hit", "hold", "swing") for thing in _SWUNG}
)
UNSEEN: Final[frozenset[Pair]] = frozenset(
    {(verb, "suitcase") for verb in ("drag", "hold", "open", "pack", "pick_up")}
    | {(verb, thing) for verb in ("hit", "hold", "swing") for thing in _SWUNG}
    | {(verb, "wine_glass") for verb in ("hold", "pour")}
    | {("hold", thing) for thing in ("hammer", "scissors", "toothbrush", "fork")}
)
"""Both lists name what the authors' conditions match; a pair that a split does not have (hit badminton_racket) is left
out there."""
LISTS: Final = {"seen": SEEN, "unseen": UNSEEN, "hard": SEEN}
"""By split; ``hard`` has pictures of Seen."""


def refined_pairs(wanted: str | Iterable[str], present: Iterable[Pair], split: str) -> list[Pair]:
    """Pairs to refine, sorted.

    Args:
        wanted: ``split`` for the list of the split, ``both`` for both lists, ``all``, or names ``hold/knife``.
        present: pairs that the data has.
        split: ``seen``, ``unseen``, ``hard``; for other data both lists count.

    Raises:
        ValueError: a name is of no pair that is there.
    """
    pairs = sorted(set(present))
    if wanted == "all":
        return pairs
    if isinstance(wanted, str):
        listed = LISTS.get(split, SEEN | UNSEEN) if wanted == "split" else SEEN | UNSEEN
        return [pair for pair in pairs if pair in listed]
    names = list(wanted)
    unknown = [name for name in names if tuple(name.split("/")) not in pairs]
    if unknown:
        raise ValueError(f"pairs: {unknown[0]!r} is no affordance/object of the pictures ({len(unknown)} are not)")
    return [pair for pair in pairs if "/".join(pair) in names]
