"""Toy steps for the tests of the engine, and a command that runs one, to be killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from vidaff.errors import VidaffError
from vidaff.io import write_image
from vidaff.labels.engine import Engine, Outcome, SkipItem, csv_items, mask_file, run_work

HASHES = {"model": "m", "settings": "s", "code": "c"}


class Dark:
    """Marks what is dark. Words in a file's name tell it to fail: ``skip``, ``value``, ``fault`` and ``die``."""

    name = "dark"

    def __init__(self, seconds: float = 0.0, below: int = 128) -> None:
        self.seconds, self.below = seconds, below
        self.ready = False

    def setup(self) -> None:
        self.ready = True

    def run(self, item, image):
        assert self.ready
        assert image.ndim == 3 and image.dtype == np.uint8
        time.sleep(self.seconds)
        if "skip" in item.file:
            raise SkipItem("told to")
        if "value" in item.file:
            raise ValueError("no such value")
        if "fault" in item.file:
            raise RuntimeError("the GPU fell off\nand more")
        if "die" in item.file:
            os._exit(7)
        mask = image.mean(2) < self.below if image.size else np.zeros((1, 1), bool)
        files = [mask_file("initial", item.picture, mask)] if mask.any() else []
        return Outcome(files, {"area": int(mask.sum())})


class DarkTogether(Dark):
    """The same, three pictures at a time."""

    batch = 3

    def run_many(self, items, images):
        assert 1 < len(items) <= self.batch
        return [self.run(item, image) for item, image in zip(items, images, strict=True)]


class Placed(Dark):
    """Writes down which worker it is in."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def take_place(self, number: int) -> None:
        (self.folder / f"worker{number}").touch()


class NoModels(Dark):
    def setup(self) -> None:
        raise VidaffError("weights.pt: no such file")


def write_pictures(folder: Path, count: int = 20) -> Path:
    """Pictures in three pairs, and the table that names them."""
    rng = np.random.default_rng(0)
    pairs = [("cup", "hold"), ("cup", "pour"), ("knife", "cut")]
    rows = ["image,object,affordance"]
    for index in range(count):
        name = f"sub{index % 2}/p{index:03}.{('png', 'jpg')[index % 2]}"
        noise = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        write_image(folder / name, noise)
        rows.append(f"{name},{','.join(pairs[index % 3])}")
    table = folder / "pictures.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def add_row(table: Path, name: str, data: bytes = b"", *, view: str = "") -> None:
    if data:
        (table.parent / name).write_bytes(data)
    with open(table, "a") as file:
        file.write(f"{name},cup,hold\n")


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files that equal runs share."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in ("timings", ".lock")
    }


def main() -> int:
    table, out, kind, seconds = sys.argv[1:]
    engine = Engine(kind, workers=1 if kind == "local" else 2)
    work = Dark(float(seconds))
    try:
        items = csv_items(table, Path(table).parent)
        run_work(work, items, out, hashes=HASHES, shard_size=3, engine=engine, progress=False)
    except VidaffError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    # Under its importable name, which is what spawned workers look for.
    from tests.labels import engine_works

    sys.exit(engine_works.main())
