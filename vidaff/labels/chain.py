"""The whole labelling: parts and objects, similarities, text features, refinement, clean-up; each step resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from vidaff.datasets.agd20k.labels import LabelFolder
from vidaff.datasets.agd20k.tree import VIEWS, Agd20kTree
from vidaff.errors import VidaffError
from vidaff.io import read_json, write_json
from vidaff.labels.chain_record import write_labels_record
from vidaff.labels.engine import (
    Basis,
    Engine,
    Item,
    Summary,
    find_items,
    hash_code,
    hash_files,
    hash_value,
    is_tree,
    lock_folder,
    pair_items,
    read_manifest,
    read_records,
    run_work,
)
from vidaff.labels.part_names import Pair, read_part_names

if TYPE_CHECKING:
    from vidaff.datasets.agd20k.text import TextFeatures
    from vidaff.labels.label_recipe import LabelRecipe, MaskSettings
    from vidaff.labels.refine_recipe import RefineRecipe
    from vidaff.labels.settings import DetectorSettings, SegmenterSettings
    from vidaff.labels.steps.base import ModelWork

Tool = TypeVar("Tool", "DetectorSettings", "SegmenterSettings")

STEPS: Final = ("init", "objects", "similarity", "text", "refine-train", "refine", "clean")
"""In their order."""
NEED_EXOCENTRIC: Final = ("similarity", "refine-train", "refine", "clean")
SHOWN_REASONS: Final = 3
CODE: Final = {
    "init": ("vidaff.labels.steps.masks", "vidaff.labels.ops", "vidaff.labels.detectors", "vidaff.labels.segmenters"),
    "similarity": ("vidaff.labels.steps.similarity", "vidaff.labels.frozen", "vidaff.datasets.agd20k.pixels"),
    "refine-train": (
        "vidaff.labels.refine_train",
        "vidaff.labels.refine_samples",
        "vidaff.labels.refine_pixels",
        "vidaff.models.image.losses",
    ),
    "refine": ("vidaff.labels.steps.refine", "vidaff.labels.refine_infer", "vidaff.labels.refine_pixels"),
    "clean": ("vidaff.labels.steps.clean", "vidaff.labels.ops", "vidaff.labels.regions", "vidaff.labels.segmenters"),
}
"""Modules whose source decides what a step gives."""
NOT_TRAINED: Final[dict[str, Any]] = {"use": True, "name": True, "about": True, "train": {"workers"}}
"""Blocks and keys of the refinement's recipe that do not decide what its network becomes."""
PLACE: Final = "{trainset}"
"""What stands for the training set's folder in names of files of boxes and masks."""
NETWORK: Final = "refine"
"""Folder of the refinement network's training within the label folder."""
REFINING: Final = ("refine-train", "refine", "clean")
STATE: Final = "state.json"
"""What is trained there. It goes first when a training begins anew: without it the rest counts for nothing."""


@dataclass(frozen=True)
class Labelling:
    """One labelling of one set of pictures.

    Attributes:
        data: AGD20K tree, CSV file, folder of a ``csv``, or tar archives; see :func:`vidaff.labels.engine.find_items`.
        out: label folder, see :mod:`vidaff.datasets.agd20k.labels`.
        recipe: all settings.
        csv: table of the pictures in the folder ``data``.
        split: of a tree; it also decides which pairs are refined by default (of other data: all).
        engine, shard_size: see :func:`vidaff.labels.engine.run_work`. The engine's threads, where they are given,
            count for the training, too, which is always done in this process.
        max_skipped: how many pictures may be unusable, over all steps; a step that can use none at all ends the run.
        overwrite: make anew what the asked steps have made with other settings, models, code or pictures.
        device: of all models.
        batch: pictures that a detector sees at once, where it can.
        progress: show progress bars.
        say: takes one line a step.
        ended: steps that :meth:`run` has been through, also where it fails later.
    """

    data: Path
    out: Path
    recipe: LabelRecipe
    csv: Path | None = None
    split: str = "seen"
    engine: Engine = field(default_factory=Engine)
    shard_size: int = 64
    max_skipped: int = 0
    overwrite: bool = False
    device: str = "auto"
    batch: int = 1
    progress: bool = True
    say: Callable[[str], None] = print
    ended: list[str] = field(default_factory=list, init=False, compare=False)

    def run(self, steps: Iterable[str] = STEPS) -> None:
        """Run ``steps``, in their order.

        Raises:
            VidaffError: an unknown step; data, settings or weights that cannot be used; another run on the folder; at
                the end, more skipped pictures than allowed. What was done is kept, and the next run goes on from there.
        """
        asked = list(steps)
        unknown = [step for step in asked if step not in STEPS]
        if unknown:
            raise VidaffError(f"the steps are {', '.join(STEPS)}, got {unknown[0]!r}")
        needing = [step for step in asked if step in NEED_EXOCENTRIC]
        if needing and not self._of("exocentric"):
            if asked != list(STEPS):
                raise VidaffError(f"{self.data}: holds no exocentric pictures, which {needing[0]} needs")
            self.say("no exocentric pictures: initial labels and objects only, nothing is refined")
            asked = [step for step in asked if step not in NEED_EXOCENTRIC]
        self._check_ahead(asked)
        skipped: dict[str, str] = {}
        with lock_folder(self.out):
            for step in STEPS:
                if step not in asked:
                    continue
                summary: Summary | None = getattr(self, f"_{step.replace('-', '_')}")()
                self._write_record(step)
                self.ended.append(step)
                if summary is None:
                    continue
                for key, reason in summary.skipped:
                    skipped.setdefault(key, f"{step}: {key}: {reason}")
                if not summary.done:
                    self._check_skipped(skipped)
        self._check_skipped(skipped)

    def _check_ahead(self, steps: Sequence[str]) -> None:
        """Raise :class:`VidaffError` for what would end one of ``steps`` after those before it have cost their time."""
        from vidaff.labels.tool_checks import check_tools

        if any(step in REFINING for step in steps):
            self._refined()
        check_tools(self.recipe, steps, self._place)

    @property
    def labels(self) -> LabelFolder:
        return LabelFolder(self.out)

    @cached_property
    def items(self) -> list[Item]:
        """Pictures of both views; of a table or archive that has one view only, of this one."""
        return find_items(self.data, csv=self.csv, split=self.split, views=VIEWS)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Pairs of affordance and object of the egocentric pictures, sorted; unusable ones need not name any."""
        return sorted({(item.affordance, item.object) for item in self._of("egocentric") if not item.problem})

    @cached_property
    def refine(self) -> RefineRecipe:
        """The refinement's settings; the authors' lists are of AGD20K: of other data, all pairs are refined."""
        recipe = self.recipe.refine
        if recipe.train.pairs != "split" or is_tree(self.data, self.csv):
            return recipe
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"pairs": "all"})})

    def _of(self, view: str) -> list[Item]:
        return [item for item in self.items if item.view == view]

    def _init(self) -> Summary:
        from vidaff.labels.steps.masks import InitialWork

        names = read_part_names(self.recipe.parts)
        work = InitialWork(self._placed(self.recipe.part), names, device=self.device, batch=self.batch)
        asked = Basis("part names", lambda item: hash_value(names.get((item.affordance, item.object))))
        return self._engine(work, self._of("egocentric"), _kept(self.recipe.part), basis=asked)

    def _objects(self) -> Summary:
        from vidaff.labels.steps.masks import ObjectsWork

        work = ObjectsWork(self._placed(self.recipe.objects), device=self.device, batch=self.batch)
        summary = self._engine(work, self.items, _kept(self.recipe.objects), code="init")
        boxes: dict[str, dict[str, Any]] = {view: {} for view in {item.view for item in self.items}}
        for record in read_records(self.out, "objects"):
            boxes[record["view"]][record["name"]] = record["record"]["boxes"]
        for view, found in sorted(boxes.items()):
            self.labels.write_boxes(view, found)
        return summary

    def _similarity(self) -> Summary:
        from vidaff.labels.steps.similarity import SimilarityWork

        work = SimilarityWork(self.recipe.encoder, self.items, str(self.out), device=self.device)
        found = self._boxes_by_pair()
        boxes = Basis("pictures or boxes", lambda item: hash_value(found.get((item.affordance, item.object), [])))
        return self._engine(work, pair_items(self.pairs), {}, shard_size=1, basis=boxes)

    def _boxes_by_pair(self) -> dict[Pair, list[Any]]:
        """Of every pair: views, names, contents and boxes of its pictures."""
        self._box_files("similarity")
        contents = {(one["view"], one["name"]): one.get("content") for one in read_records(self.out, "objects")}
        found: dict[Pair, list[Any]] = {}
        for view in VIEWS:
            for name, rows in sorted((self.labels.read_boxes(view) or {}).items()):
                affordance, thing, _ = name.split("/")
                found.setdefault((affordance, thing), []).append(
                    [view, name, contents.get((view, name)), rows.tolist()]
                )
        return found

    def _text(self) -> None:
        from vidaff.labels.steps.text import adds_pairs, features_of, make_text_features, text_inputs, write_features
        from vidaff.models.image.text_table import make_text_encoder

        recipe, width = self.recipe, self.recipe.refine.model.dim
        names = read_part_names(recipe.parts)
        self._limit_threads()
        encoder = make_text_encoder(recipe.text, width)
        made = text_inputs(recipe.text, encoder, self.pairs, names)
        path = self.out / "text.safetensors"
        if path.is_file():
            before = features_of(path)
            if before == made:
                self.say("text: was done before")
                return
            if not self.overwrite and not adds_pairs(before, made):
                raise VidaffError(f"{path}: was made with other settings, pairs or part names; pass --overwrite")
        features = make_text_features(recipe.text, encoder, self.pairs, names)
        write_features(path, features, made)
        counts = f"{len(features.verbs)} affordances, {len(features.nouns)} objects, {len(features.parts)} parts"
        self.say(f"text: {counts} in {path}")

    def _refine_train(self) -> None:
        from vidaff.labels.pictures import LabelledPictures, OwnLabels
        from vidaff.labels.refine_train import train_refinement
        from vidaff.training.runs import clear_run

        folder, text = self.out / NETWORK, self._features()
        made = {"inputs": self._training_inputs()}
        before = self._training_before(folder, made["inputs"])
        if before and (folder / "best" / "model.safetensors").is_file():
            self.say("refine-train: was done before")
            return
        before = None if before else before  # ended, but its network is gone: there is nothing to go on from
        pictures = LabelledPictures(self.items, OwnLabels(self.out))
        if before is None:
            clear_run(folder, first=[STATE])
        write_json(folder / STATE, {**made, "done": False})
        self._write_record("refine-train")
        self._limit_threads()
        train_refinement(
            self.refine, pictures, text.parts, folder, split=self.split, resume=before is not None,
            overwrite=True, device=self.device, progress=self.progress,
        )  # fmt: skip
        write_json(folder / STATE, {**made, "done": True})
        self.say(f"refine-train: the network is in {folder / 'best'}")

    def _training_before(self, folder: Path, inputs: str) -> bool | None:
        """Whether a training of ``inputs`` was ended; None when none was begun, or another one may be overwritten."""
        if not (folder / STATE).is_file():
            return None
        state = _read_state(folder)
        if state.get("inputs") == inputs:
            return bool(state.get("done"))
        if self.overwrite:
            return None
        raise VidaffError(
            f"{folder}: was trained with other settings, code, pictures or labels; pass --overwrite to train anew"
        )

    def _limit_threads(self) -> None:
        if self.engine.threads is not None:
            from vidaff.labels.engine.processes import limit_threads

            limit_threads(self.engine.threads)

    def _refine(self) -> Summary:
        from vidaff.labels.steps.refine import RefineWork

        best, recipe = self.out / NETWORK / "best", self.refine
        if not best.is_dir():
            raise VidaffError(f"{best}: no refinement network; vidaff label refine trains one")
        if not _read_state(best.parent).get("done"):
            raise VidaffError(
                f"{best.parent}: its training has not come to its end; vidaff label refine goes on with it"
            )
        items, text = self._refined(), self._features().parts
        work = RefineWork(recipe, best, text, items, str(self.out), device=self.device)
        inputs = {
            "use": recipe.use.model_dump(mode="json"),
            "input": recipe.input.model_dump(mode="json"),
            "objects": self._how("objects"),
        }
        phrase = Basis("text features", lambda item: _array_hash(text.get((item.affordance, item.object))))
        return self._engine(work, items, inputs, basis=phrase)

    def _clean(self) -> Summary:
        from vidaff.labels.steps.clean import CleanWork

        recipe, items = self.recipe, self._refined()
        settings = recipe.clean
        if settings.proposer is not None:
            settings = settings.model_copy(update={"proposer": self._place(settings.proposer)})
        work = CleanWork(settings, self._placed(recipe.part).segmenter, items, str(self.out), device=self.device)
        inputs = {
            "clean": recipe.clean.model_dump(mode="json", exclude={"proposer"}),
            "raw": self._how("refine"),
        }
        self._box_files("clean")
        found = self.labels.read_boxes("egocentric") or {}
        boxes = Basis("boxes", lambda item: _array_hash(found.get(item.name)))
        return self._engine(work, items, inputs, basis=boxes)

    def _placed(self, settings: MaskSettings) -> MaskSettings:
        tools = {"detector": self._place(settings.detector), "segmenter": self._place(settings.segmenter)}
        return settings.model_copy(update=tools)

    def _place(self, tool: Tool) -> Tool:
        """Settings whose file name is complete: ``{trainset}`` stands for that of the tree."""
        if tool.weights is None or PLACE not in tool.weights:
            return tool
        weights = tool.weights.replace(PLACE, str(Agd20kTree(self.data, self.split).trainset))
        return tool.model_copy(update={"weights": weights})

    def _refined(self) -> list[Item]:
        """Egocentric pictures of the refined pairs."""
        from vidaff.labels.refine_train import pairs_of

        pairs = set(pairs_of(self.refine, self.pairs, self.split))
        return [item for item in self._of("egocentric") if (item.affordance, item.object) in pairs]

    def _engine(
        self, work: ModelWork, items: Sequence[Item], settings: dict[str, Any], *, code: str | None = None,
        shard_size: int | None = None, basis: Basis | None = None,
    ) -> Summary:  # fmt: skip
        """Run a step on its pictures and say how it went."""
        step: str = work.name  # type: ignore[attr-defined]
        if self.engine.kind == "ray" and not self.engine.gpus and work.device == "auto":
            work.device = "cpu"  # what Ray's actors see then, whatever is in this machine
        work.setup()
        hashes = {
            "model": work.fingerprint(),
            "settings": hash_value(settings),
            "code": hash_code(*CODE[code or step]),
        }
        if self.engine.kind != "local":
            work.unload()  # the workers load their own
        summary = run_work(
            work, items, self.out, hashes=hashes, engine=self.engine,  # type: ignore[arg-type]
            shard_size=shard_size or self.shard_size, max_skipped=len(items), overwrite=self.overwrite,
            progress=self.progress, basis=basis, begin=lambda: self._write_record(step),
        )  # fmt: skip
        work.unload()
        self.say(summary.text())
        return summary

    def _check_skipped(self, skipped: Mapping[str, str]) -> None:
        """Raise :class:`VidaffError` for more skipped pictures than allowed; ``skipped`` holds the reason of each."""
        if len(skipped) <= self.max_skipped:
            return
        reasons = "; ".join(list(skipped.values())[:SHOWN_REASONS])
        more = f"; ... all are in {self.out / 'manifest'}" if len(skipped) > SHOWN_REASONS else ""
        raise VidaffError(
            f"{len(skipped)} pictures were skipped, more than --max-skipped {self.max_skipped}; what the others give "
            f"is kept ({reasons}{more})"
        )

    def _features(self) -> TextFeatures:
        from vidaff.datasets.agd20k.text import FILE, read_features_file

        path = self.out / FILE
        if not path.is_file():
            raise VidaffError(f"{path}: no text features; vidaff label text makes them")
        return read_features_file(path)

    def _box_files(self, step: str) -> list[Path]:
        files = [self.labels.boxes_path(view) for view in VIEWS]
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise VidaffError(f"{missing[0]}: no boxes, which {step} needs; vidaff label objects makes them")
        return files

    def _how(self, step: str) -> str:
        """Hash of how a step was made, whatever the pictures; empty where its files come from elsewhere."""
        lines = read_manifest(self.out, step)
        return (
            hash_value({name: value for name, value in lines[0]["hashes"].items() if name != "inputs"}) if lines else ""
        )

    def _made(self, step: str) -> str:
        """Hash of what a step was made of; empty where its files come from elsewhere."""
        return hash_value([line["hashes"] for line in read_manifest(self.out, step)])

    def _training_inputs(self) -> str:
        """Hash of everything that decides on the refinement network."""
        tables = [self.labels.similarity_path(*pair) for pair in self.pairs]
        return hash_value({
            "recipe": self.refine.model_dump(mode="json", exclude=NOT_TRAINED),
            "code": hash_code(*CODE["refine-train"]),
            "split": self.split,
            "boxes": hash_files(self._box_files("refine-train")),
            "similarity": hash_files([path for path in tables if path.is_file()]),
            "text": hash_files([self.out / "text.safetensors"]),
            "labels": [self._made("init"), self._made("objects")],
        })  # fmt: skip

    def _write_record(self, step: str) -> None:
        """``labels.json``, when ``step`` is begun or done."""
        # Where the pictures were, for the report.
        table = None if self.csv is None else str(self.csv.resolve())
        where = {"data": str(self.data.resolve()), "csv": table, "split": self.split}
        recipe = self.recipe.model_copy(update={"refine": self.refine})
        write_labels_record(self.labels, recipe, where, STEPS, step)


def _kept(settings: Any) -> dict[str, Any]:
    """Settings of a mask step besides its models, whose fingerprints say the rest."""
    kept: dict[str, Any] = settings.model_dump(mode="json", exclude={"detector", "segmenter"})
    return kept


def _read_state(folder: Path) -> dict[str, Any]:
    """What was trained in ``folder``; empty when it does not say."""
    path = folder / STATE
    state = read_json(path) if path.is_file() else None
    return state if isinstance(state, dict) else {}


def _array_hash(values: np.ndarray | None) -> str:
    return "" if values is None else hash_value(np.asarray(values, np.float64).tolist())
