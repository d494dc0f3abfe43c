"""Prepared clips for the variants: one file with 3D flow, one with 2D flow, made where they are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vidaff.config import load_recipe
from vidaff.errors import VidaffError


@dataclass(frozen=True)
class ClipSource:
    """Gives the prepared file that a second stream needs.

    Args:
        dataset: ``sor3d-aff`` or ``own-clips``.
        data: folder in its layout, a prepared file with 3D flow, or None for the embedded default.
        data_2d: prepared file with 2D flow; needed for ``flow2d`` where ``data`` is a file.
        folder: where missing files are written; what is there already is taken if it is of the same clips.
        recipe, overrides: of the trainings, for the size of the frames and their rate.
        flow: method of the 3D flow.
        workers: processes that prepare.
        progress: show progress bars.
        overwrite: prepare ``data`` anew, once for each file, whatever is there.
    """

    dataset: str
    data: Path | None
    data_2d: Path | None
    folder: Path
    recipe: str
    overrides: tuple[str, ...]
    flow: str
    workers: int = 2
    progress: bool = True
    overwrite: bool = False
    _made: set[Path] = field(default_factory=set, init=False, compare=False)
    """Files that were prepared by now: several variants share one."""

    def __call__(self, stream: str) -> Path:
        """Path of the prepared file for ``none``, ``flow2d`` or ``flow3d``; raise :class:`VidaffError` without one."""
        if self.data is not None and self.data.is_file():
            if stream != "flow2d":
                return self.data
            if self.data_2d is None:
                raise VidaffError(f"{self.data} holds 3D flow; the row with 2D flow needs --data-2d (--flow dis2d)")
            return self.data_2d
        method = "dis2d" if stream == "flow2d" else self.flow
        settings = load_recipe(self.recipe, self.overrides).input
        if self.data is None:
            from vidaff.default_data import default_data

            return default_data(
                self.folder, size=settings.size, flow=method, workers=self.workers, progress=self.progress
            )
        from vidaff.datasets.prepare import PrepareSettings, prepare_clips

        height, width = settings.size
        out = self.folder / f"clips-{height}x{width}-{method}.h5"
        if out not in self._made:
            anew = self.overwrite
            prepared = PrepareSettings(size=settings.size, fps=settings.fps, flow=method)
            prepare_clips(
                self.dataset, self.data, out, prepared, workers=self.workers, resume=not anew, overwrite=anew,
                progress=self.progress,
            )  # fmt: skip
            self._made.add(out)
        return out
