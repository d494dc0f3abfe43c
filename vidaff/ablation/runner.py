"""Run a study: one ``vidaff train`` and some ``vidaff eval`` per variant and seed, each in a process of its own.

A process of its own gives every training all of its memory back, lets several run beside each other, and makes what
is done here the same as what a user would type. Folder layout::

    OUT/runs/VARIANT/seed-N/           the run of vidaff train; finished.json when it is complete
    OUT/runs/VARIANT/seed-N.log        what its commands printed
    OUT/eval/VARIANT/seed-N/NAME/      the results of vidaff eval
    OUT/ablation.md .json .csv .svg    the tables and the chart, renewed after every run
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from vidaff.ablation.report import Scores, read_scores, write_report
from vidaff.ablation.study import Evaluation, Study, Variant
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, read_json, write_json
from vidaff.progress import progress_bar
from vidaff.training.runs import remove

FINISHED = "finished.json"
KINDS = ("md", "json", "csv", "svg")
SEEDS = "*/seed-*"
OLD = (f"runs/{SEEDS}/{FINISHED}", f"runs/{SEEDS}/checkpoints", f"runs/{SEEDS}", f"eval/{SEEDS}",
       *(f"ablation.{kind}" for kind in KINDS))  # fmt: skip
"""What a study leaves, that first which others are known by; other folders in ``runs`` are not the study's."""
LOG_TAIL = 3
"""Lines of a failed command's log that are shown."""


@dataclass(frozen=True)
class RunSettings:
    """How a study is run.

    recipe, overrides: as for ``vidaff train``. seeds: training seeds. jobs: trainings beside each other, which share
    the cores. device: ``auto``, ``cpu`` or ``cuda``.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    jobs: int = 1
    device: str = "auto"


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}, seed {self.seed}"

    def folder(self, out: Path, kind: str) -> Path:
        return out / kind / self.variant.name / f"seed-{self.seed}"


def run_study(
    study: Study,
    out: str | Path,
    settings: RunSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Train and score every variant with every seed; return the path of the table.

    Args:
        study: what to compare.
        out: folder of the study, see the module's text.
        settings: recipe, seeds and how many trainings run at once.
        resume: keep what is finished in ``out`` and go on with what is not.
        overwrite: use ``out`` although it holds files; runs, results and tables of an earlier study go when its data
            is there.
        progress: show a bar that counts runs.
        say: told one line per finished run.

    Raises:
        VidaffError: ``out`` holds files or runs of other settings, unusable data, or a command failed (the end of its
            log is quoted; the other runs stay).
    """
    out = prepare_output_dir(out, overwrite=overwrite, resume=resume)
    runs = [Run(variant, seed) for seed in settings.seeds for variant in study.variants]
    data = {variant.name: study.data(variant) for variant in study.variants}
    if overwrite and not resume:
        # Old weights and results would pass for the new study's wherever that is not finished.
        remove(out, OLD)
    worker = _Worker(study, settings, out, data)
    try:
        with progress_bar(shown=progress) as bar:
            task = bar.add_task("training", total=len(runs))
            for run in worker.work(runs):
                bar.advance(task)
                scores = read_scores(study, out, settings.seeds)
                write_report(study, scores, out, settings)
                say(f"{run.name}: {_summary(study, scores, run)}")
    finally:
        worker.stop()
    return out / "ablation.md"


def _summary(study: Study, scores: Scores, run: Run) -> str:
    values = scores[run.variant.name][run.seed]
    parts = [f"{metric.title} {values[metric.key]:.3f}" for metric in study.metrics if metric.key in values]
    return ", ".join(parts)


class _Worker:
    """Runs commands on threads and knows how to stop them."""

    def __init__(self, study: Study, settings: RunSettings, out: Path, data: dict[str, Path]) -> None:
        self.study, self.settings, self.out, self.data = study, settings, out, data
        self.stopped = threading.Event()
        self.children: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()

    def work(self, runs: Sequence[Run]) -> Iterator[Run]:
        """Yield runs as they finish; raise the first error when it happens."""
        with ThreadPoolExecutor(self.settings.jobs) as pool:
            waiting = {pool.submit(self._run, run) for run in runs}
            try:
                while waiting:
                    # A timeout lets Ctrl-C through.
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End all commands; whatever they had written stays for a resumption."""
        self.stopped.set()
        with self.lock:
            for child in self.children:
                child.terminate()

    def _run(self, run: Run) -> Run:
        folder = run.folder(self.out, "runs")
        train = self._train_arguments(run)
        marker = folder / FINISHED
        log = folder.with_name(folder.name + ".log")
        if marker.is_file():
            if read_json(marker) != {"train": train}:
                raise VidaffError(
                    f"{folder}: was trained with other settings; take them again, or another --out, or --overwrite"
                )
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)
            self._command([*train, "--out", str(folder), "--resume", "--quiet"], log, run)
            write_json(marker, {"train": train})
        for evaluation in self.study.evaluations:
            self._evaluate(run, evaluation, folder / "best", log)
        return run

    def _train_arguments(self, run: Run) -> list[str]:
        variant = run.variant
        # Overrides are keys of the study's recipe; a row of another model says by its changes which it takes.
        shared = self.settings.overrides if variant.recipe is None else ()
        changes = (*shared, *variant.changes, f"train.seed={run.seed}")
        return [
            "train", "--dataset", self.study.dataset, "--data", str(self.data[variant.name].resolve()),
            *(("--model", variant.model) if variant.model else ()),
            "--recipe", variant.recipe or self.settings.recipe, "--device", self.settings.device,
            *self.study.arguments, *(part for change in changes for part in ("--set", change)),
        ]  # fmt: skip

    def _evaluate(self, run: Run, evaluation: Evaluation, checkpoint: Path, log: Path) -> None:
        target = run.folder(self.out, "eval") / evaluation.name
        results = target / "results.json"
        if results.is_file() and results.stat().st_mtime >= checkpoint.stat().st_mtime:
            return
        self._command(
            [
                "eval", "--checkpoint", str(checkpoint), "--dataset", self.study.dataset,
                "--data", str(self.data[run.variant.name]), "--device", self.settings.device,
                *evaluation.arguments, "--out", str(target), "--overwrite",
            ],
            log, run,
        )  # fmt: skip

    def _command(self, arguments: list[str], log: Path, run: Run) -> None:
        if self.stopped.is_set():
            raise VidaffError(f"{run.name}: not begun, because the study was stopped")
        environment = dict(os.environ)
        if self.settings.jobs > 1:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.settings.jobs)))
        with open(log, "ab") as file:
            child = subprocess.Popen(
                [sys.executable, "-m", "vidaff", *arguments], stdout=file, stderr=file, env=environment
            )
            with self.lock:
                self.children.add(child)
            try:
                code = child.wait()
            finally:
                with self.lock:
                    self.children.discard(child)
        if code:
            raise VidaffError(f"{run.name}: 'vidaff {arguments[0]}' ended with code {code}: {_tail(log)}")


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error:")]
    return errors[-1] if errors else " / ".join(lines[-LOG_TAIL:]) or f"see {log}"
