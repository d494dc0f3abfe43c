"""The whole chain in one go: render, evaluate, train, evaluate again, infer, report.

Every step leaves ``steps/NAME.json`` in the output folder when it is done, so that a stopped demo goes on where it was.
"""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidaff.config import load_recipe
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, read_json, write_json

Say = Callable[[str], None]
Result = dict[str, Any]

DATA_SEED = 40_000
"""Added to the demo's seed: no recipe and no default of the other verbs renders these clips, so no shipped model has
seen them in training or selection."""

SHOWN_CLIPS = 4
SHOWN_SIZE = 320
CONTENTS = ("settings.json", "steps", "data", "shown", "eval", "tiny", "infer")
"""What the demo writes besides the report; ``overwrite`` removes these and nothing else."""


@dataclass(frozen=True)
class DemoSettings:
    """Size of the demo.

    clips_train, clips_val: rendered clips. size: their side in pixels once prepared, None: what the trained model
    takes. train_minutes: time limit of the tiny model's training. checkpoint: the trained model that is
    shown, path or shipped name. seed: of clips and training.
    """

    clips_train: int = 240
    clips_val: int = 60
    size: int | None = None
    train_minutes: float = 3.0
    checkpoint: str = "small"
    seed: int = 0


class Journal:
    """Runs named steps, tells what happens, and keeps each result in a file, so that it is made only once."""

    def __init__(self, folder: Path, total: int, say: Say) -> None:
        self.folder, self.total, self.say = folder, total, say
        self.seconds: dict[str, float] = {}

    def step(self, name: str, title: str, work: Callable[[], Result]) -> Result:
        """Result of step ``name``: read back when it was finished before, made by ``work`` otherwise."""
        number, path = len(self.seconds) + 1, self.folder / f"{name}.json"
        head = f"[{number}/{self.total}] {title}"
        if path.is_file():
            record = read_json(path)
            self.say(f"{head}: done before")
        else:
            self.say(head)
            start = time.perf_counter()
            result = work()
            record = {"seconds": time.perf_counter() - start, "result": result}
            write_json(path, record)
            self.say(f"      {record['seconds']:.0f} s")
        self.seconds[name] = record["seconds"]
        found: Result = record["result"]
        return found


def run_demo(
    out: str | Path,
    settings: DemoSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    device: str = "auto",
    progress: bool = True,
    say: Say = print,
) -> Path:
    """Run the demo into the folder ``out`` and return the path of its ``report.html``.

    ``resume`` goes on with a stopped demo of the same settings, ``overwrite`` starts anew. ``workers`` processes render
    and prepare. Progress is told line by line through ``say``.

    Raises:
        VidaffError: ``out`` holds files, the settings differ from the stopped demo's, or a step failed.
    """
    from vidaff.demo_report import write_report
    from vidaff.predict import pick_device
    from vidaff.weights import resolve_checkpoint

    resolve_checkpoint(settings.checkpoint)
    pick_device(device)
    folder = open_folder(Path(out), settings, resume=resume, overwrite=overwrite)
    chain = Chain(folder, settings, workers=workers, device=device, progress=progress)
    journal = Journal(folder / "steps", 5, say)
    count = min(SHOWN_CLIPS, settings.clips_val)
    steps: tuple[tuple[str, str, Callable[[], Result]], ...] = (
        ("data", f"Rendering {settings.clips_train} + {settings.clips_val} clips, computing scene flow", chain.data),
        ("evaluate", f"Evaluating the trained model '{settings.checkpoint}'", chain.evaluate_trained),
        ("train", f"Training a tiny model from scratch, {settings.train_minutes:g} minutes", chain.train),
        ("compare", "Evaluating the tiny model", chain.evaluate_tiny),
        ("infer", f"Frame by frame over {count} clips with '{settings.checkpoint}'", chain.infer),
    )
    results = {name: journal.step(name, title, work) for name, title, work in steps}
    report = write_report(folder, asdict(settings), results, journal.seconds)
    say(f"Report: {report.resolve()}")
    return report


def open_folder(out: Path, settings: DemoSettings, *, resume: bool, overwrite: bool) -> Path:
    """Make ``out`` ready; what an earlier demo left there is kept, removed or refused as the flags say."""
    if out.is_dir() and any(out.iterdir()) and not (resume or overwrite):
        raise VidaffError(f"{out}: already holds files; pass --resume to go on, --overwrite to start anew, or --out")
    out = prepare_output_dir(out, overwrite=overwrite, resume=resume)
    record, wanted = out / "settings.json", asdict(settings)
    if overwrite:
        _clear(out)
    elif record.is_file() and read_json(record) != wanted:
        raise VidaffError(f"{out}: was begun with other settings; use the same ones, pass --overwrite, or choose --out")
    write_json(record, wanted)
    return out


def _clear(out: Path) -> None:
    for name in (*CONTENTS, "report.html"):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Chain:
    """The steps; each returns what the report needs, as JSON types, and can be repeated after it was stopped."""

    def __init__(self, folder: Path, settings: DemoSettings, *, workers: int, device: str, progress: bool) -> None:
        self.folder, self.settings = folder, settings
        self.workers, self.device, self.progress = workers, device, progress

    @property
    def clips(self) -> Path:
        """The prepared file."""
        found: str = read_json(self.folder / "steps" / "data.json")["result"]["file"]
        return self.folder / found

    def data(self) -> Result:
        """Render the clips, and write them with computed scene flow to a prepared file."""
        from vidaff.default_data import default_data
        from vidaff.weights import flow_method, load_checkpoint

        settings = self.settings
        shipped = load_checkpoint(settings.checkpoint)
        taken = shipped.recipe.input.size
        size = taken if settings.size is None else (settings.size, settings.size)
        path = default_data(
            self.folder / "data", size=size, clips_train=settings.clips_train, clips_val=settings.clips_val,
            seed=DATA_SEED + settings.seed, flow=flow_method(shipped.recipe, shipped.info), workers=self.workers,
            progress=self.progress,
        )  # fmt: skip
        return {"file": str(path.relative_to(self.folder)), "size": list(size)}

    def evaluate_trained(self) -> Result:
        """Score the trained model: whole clips, whole clips without motion, last frames alone."""
        name = self.settings.checkpoint
        return {
            "video": self._score(name, "trained-video", mode="video"),
            "zero_flow": self._score(name, "trained-zero-flow", mode="video", zero_flow=True),
            "static": self._score(name, "trained-static", mode="static"),
        }

    def train(self) -> Result:
        """Train the tiny recipe for some minutes; its curves are the result."""
        from vidaff.train import train

        settings = self.settings
        # The last epoch, not the best one: choosing by the clips that are scored afterwards would flatter it.
        keys = {"max_minutes": settings.train_minutes, "seed": settings.seed, "select": "last"}
        recipe = load_recipe("tiny", [f"train.{key}={value}" for key, value in keys.items()])
        out = self.folder / "tiny"
        train(recipe, self.clips, out, resume=True, device=self.device, progress=self.progress)
        return {"curves": read_curves(out / "metrics.csv")}

    def evaluate_tiny(self) -> Result:
        """Score the tiny model on the same clips."""
        best = self.folder / "tiny" / "best"
        return {
            "video": self._score(best, "tiny-video", mode="video"),
            "static": self._score(best, "tiny-static", mode="static"),
        }

    def _score(self, checkpoint: str | Path, name: str, *, mode: str, zero_flow: bool = False) -> Result:
        from vidaff.evaluate import evaluate

        result = evaluate(
            checkpoint, self.clips, mode=mode, zero_flow=zero_flow, out=self.folder / "eval" / name, overwrite=True,
            device=self.device, progress=self.progress,
        ).to_dict()  # fmt: skip
        kept = ("overall", "per_class", "intervals", "num_clips", "seconds")
        return {key: result[key] for key in kept}

    def infer(self) -> Result:
        """Run the trained model frame by frame over the first validation clips, rendered larger for the eye."""
        from vidaff.datasets.synthetic import SynthSettings, render_sor3d_aff

        count, seed = min(SHOWN_CLIPS, self.settings.clips_val), DATA_SEED + self.settings.seed
        larger = SynthSettings(clips_train=0, clips_val=count, size=SHOWN_SIZE, seed=seed)
        root = render_sor3d_aff(
            self.folder / "shown", larger, workers=self.workers, resume=True, progress=self.progress
        )
        return {"clips": [self._infer(root / "val" / plan.name) for plan in larger.plans()]}

    def _infer(self, recording: Path) -> Result:
        from vidaff.infer import InferJob, InferSettings
        from vidaff.sources import SourceSettings

        out = self.folder / "infer" / recording.name
        job = InferJob(
            InferSettings(
                SourceSettings(str(recording)), self.settings.checkpoint, out, device=self.device, overwrite=True
            )
        )
        summary = job.run()
        slow_motion(out / "overlay.mp4", out / "slow.mp4")
        return {
            "name": recording.name,
            "action": recording.name.split("_")[1],
            "object": recording.name.rsplit("_", 1)[1],
            "seen": last_action(out / "timeline.csv"),
            "frames_per_second": summary.frames_per_second,
        }


def last_action(timeline: Path) -> str:
    """Action that the model names at the end of a clip, from the ``timeline.csv`` of an inference."""
    with timeline.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise VidaffError(f"{timeline}: holds no frame")
    return rows[-1]["action"]


def slow_motion(clip: Path, out: Path, *, fps: float = 5.0, hold: float = 1.6) -> None:
    """Copy a video at ``fps`` frames a second and hold its last frame ``hold`` seconds: that one is what is asked."""
    from vidaff.media import VideoWriter, open_frames

    with open_frames(clip) as frames, VideoWriter(out, fps, frames.size) as video:
        for frame in frames:
            video.write(frame)
        for _ in range(round(fps * hold)):
            video.write(frame)


def read_curves(table: Path) -> dict[str, list[tuple[float, float]]]:
    """Curves in Lightning's metrics table: column -> (step, value) for every logged value."""
    curves: dict[str, list[tuple[float, float]]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if "/" in name and value:
                    curves.setdefault(name, []).append((float(row["step"]), float(value)))
    return curves
