"""Where the labels of a split are: our label folder, the authors' files, or both."""

from __future__ import annotations

from pathlib import Path

from vidaff.datasets.agd20k.authors import AuthorsFolder
from vidaff.datasets.agd20k.labels import Boxes, LabelFolder, SimilarityTable
from vidaff.datasets.agd20k.tree import FOLDERS, Agd20kTree, Picture
from vidaff.errors import VidaffError


class LabelPlaces:
    """Labels of a training set, each kind from the first place that has it.

    Without ``labels`` the places are ``trainset/labels`` (ours), then ``trainset`` (the authors'). ``labels`` names a
    folder to be looked at instead: its subfolder ``Seen`` or ``Unseen``, or itself when it has none; it may hold our
    names or the authors'.

    Raises:
        VidaffError: ``labels`` is no folder.
    """

    def __init__(self, tree: Agd20kTree, labels: str | Path | None = None) -> None:
        if labels is None:
            self.folder = tree.trainset
            self.ours = LabelFolder(tree.trainset / "labels")
            self.authors = AuthorsFolder(tree.trainset)
            return
        folder = Path(labels)
        if not folder.is_dir():
            raise VidaffError(f"{folder}: no such folder of labels")
        inside = folder / FOLDERS[tree.split]
        self.folder = inside if inside.is_dir() else folder
        self.ours, self.authors = LabelFolder(self.folder), AuthorsFolder(self.folder)

    def find_mask(self, kind: str, picture: Picture) -> Path | None:
        """File of a mask; ``kind`` is one of :data:`vidaff.datasets.agd20k.labels.MASKS`."""
        return self.ours.find_mask(kind, picture) or self.authors.find_mask(kind, picture)

    def boxes(self, view: str) -> Boxes | None:
        """Boxes of all pictures of a view, None when nothing was detected yet."""
        ours = self.ours.read_boxes(view)
        return self.authors.read_boxes(view) if ours is None else ours

    def similarity(self, affordance: str, thing: str) -> SimilarityTable | None:
        """Table of a pair, None when there is none."""
        ours = self.ours.read_similarity(affordance, thing)
        return self.authors.read_similarity(affordance, thing) if ours is None else ours
