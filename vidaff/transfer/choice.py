"""Which pictures of a set are taken when not all are: evenly over its categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(groups: Sequence[str], count: int) -> list[int]:
    """Indices, in order, of ``count`` items (all, if there are no more), evenly over ``groups`` and within each.

    ``groups`` names the group of every item. The same call gives the same items.
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    taken = dict.fromkeys(sorted(members), 0)
    left = min(count, len(groups))
    while left:
        unused = [name for name, number in taken.items() if number < len(members[name])]
        for name in evenly(unused, min(left, len(unused))):
            taken[name] += 1
            left -= 1
    return sorted(index for name, number in taken.items() for index in evenly(members[name], number))


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """``count`` evenly spaced ``items``, at most all of them."""
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]
