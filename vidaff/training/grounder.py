"""Training of the grounding network on AGD20K: from a recipe and a folder of pictures to a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vidaff import __version__
from vidaff.config import dump_recipe
from vidaff.datasets.agd20k import Agd20kTest, Agd20kTrain
from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, write_text
from vidaff.metrics import heatmap_scores
from vidaff.models.image.build import build_grounder, pretrained_grounder
from vidaff.models.image.checkpoint import save_grounder
from vidaff.models.image.grounder import GroundingNet, GroundingOutput
from vidaff.models.image.heatmaps import to_heatmaps
from vidaff.models.image.losses import GroundingTargets, grounding_losses, parameter_groups
from vidaff.models.image.recipe import GrounderRecipe, grounder_recipe_from_dict
from vidaff.models.image.settings import GrounderSettings
from vidaff.models.image.text_table import TextTable
from vidaff.predict import pick_device
from vidaff.train import changed_keys, denormals_flushed, quiet_lightning
from vidaff.training.augment import step_generator
from vidaff.training.batches import accumulation
from vidaff.training.callbacks import (
    AtomicCheckpointIO,
    Export,
    FiniteGuard,
    TimeLimit,
    checkpoint_callbacks,
    last_checkpoint,
)
from vidaff.training.exportable import ExportableModule
from vidaff.training.grounding_data import GroundingData, TestBatch, TrainBatch, split_pictures
from vidaff.training.grounding_summary import picture_counts, picture_lines
from vidaff.training.grounding_text import stacked, text_print, text_table
from vidaff.training.history import next_sitting
from vidaff.training.runs import clear_run, fit
from vidaff.training.same_data import PRINTS, check_same_data, fingerprint
from vidaff.weights import load_torch_file

FORMAT = "grounder-recipe"
"""What a checkpoint's ``info["format"]`` says when this module wrote it."""
EXO_MASKS = {"box": "box", "object": "object", "picture": "none", "none": "none"}
"""``train.alignment`` -> which exocentric patches the data set marks."""


class HeatmapModule(ExportableModule):
    """A module whose validation compares heat maps with KLD, SIM and NSS; the lowest KLD is the best."""

    SCORES: ClassVar[tuple[str, ...]] = ("kld", "sim", "nss")
    LOWEST: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[tuple[float, ...]] = []

    def heat(self, batch: TestBatch) -> torch.Tensor:
        """Heat maps (B, S, S) of the asked affordances, at the size of the truth."""
        raise NotImplementedError

    def validation_step(self, batch: TestBatch, batch_idx: int) -> torch.Tensor:
        """Score a batch; returns the heat maps."""
        heat = self.heat(batch)
        if torch.isfinite(heat).all():  # else the guard that sees what is returned says what to do
            pairs = zip(heat.float().cpu().numpy(), batch.heatmap[:, 0].cpu().numpy(), strict=True)
            self.scores += [heatmap_scores(*pair) for pair in pairs]
        return heat

    def on_validation_epoch_end(self) -> None:
        means = np.mean(self.scores, axis=0)
        values = {f"val/{key}": float(mean) for key, mean in zip(self.SCORES, means, strict=True)}
        self.log_dict(values, prog_bar=True, sync_dist=True)
        self.scores = []

    def seed_step(self, batch_idx: int) -> None:
        """Seed what the network draws by the step alone, so that resuming changes nothing."""
        seed = self.recipe.train.seed
        torch.manual_seed(step_generator(seed, self.current_epoch, batch_idx, self.global_rank).initial_seed())


class GrounderModule(HeatmapModule):
    """Trains :class:`vidaff.models.image.GroundingNet`.

    Source: Xu et al., ICLR 2025, section 3.6 and appendix; optimiser and weights of the losses as in the authors' code.

    Args:
        recipe: all settings.
        network: the network's, after ``recipe.network``, with the data set's classes.
        text: text features of everything in the data.
        ids: names by id: ``verbs``, ``nouns``, and ``parts`` by the data set's ``pair``.
        asked: affordances of validation.
        steps: optimiser steps of the whole run.
        info: facts that go into every checkpoint.
    """

    verb_rows: torch.Tensor
    noun_rows: torch.Tensor
    part_rows: torch.Tensor

    def __init__(
        self,
        recipe: GrounderRecipe,
        network: GrounderSettings,
        *,
        text: TextTable,
        ids: Mapping[str, Sequence[str]],
        asked: Sequence[str],
        steps: int,
        info: dict[str, Any],
    ) -> None:
        super().__init__()
        self.recipe, self.text, self.steps, self.info = recipe, text, steps, info
        self.save_hyperparameters({"format": FORMAT, "recipe": recipe.model_dump(mode="json"), "info": info})
        weights = recipe.train.encoder_weights
        built = (build_grounder(network), network) if weights is None else pretrained_grounder(weights, network)
        self.model, self.network = built
        trained = info["trained"]
        verbs = sorted({*trained["affordances"], *asked})
        tables = {
            "verb_rows": stacked(text.verbs, ids["verbs"], verbs, "affordance"),
            "noun_rows": stacked(text.nouns, ids["nouns"], trained["objects"], "object"),
            "part_rows": stacked(text.parts, ids["parts"], ids["parts"], "part"),
        }
        for name, rows in tables.items():
            self.register_buffer(name, rows, persistent=False)

    def begin(self, out: Path) -> None:
        self.text.save(out, self.recipe.input.text)

    def export(self, folder: Path, info: Mapping[str, Any]) -> None:
        assert isinstance(self.model, GroundingNet)  # for the type checker
        save_grounder(folder, self.model, self.network, info)
        self.text.save(folder, self.recipe.input.text)

    def training_step(self, batch: TrainBatch, batch_idx: int) -> torch.Tensor:
        settings = self.recipe.train
        self.seed_step(batch_idx)
        target = GroundingTargets(
            batch.heatmap, batch.verb, noun=self.noun_rows[batch.noun], part=self.part_rows[batch.pair]
        )
        losses = grounding_losses(
            self._outputs(batch), target, weights=settings.loss_weights, pairing=settings.text_pairing
        )
        total = losses.pop("total")
        values = {"train/loss": total, **{f"train/{name}": loss for name, loss in losses.items()}}
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch.image))
        return total

    def _outputs(self, batch: TrainBatch) -> GroundingOutput:
        assert isinstance(self.model, GroundingNet)  # for the type checker
        text = self.verb_rows[batch.verb]
        if self.recipe.train.alignment == "none":
            return self.model.ground(self.model.encode(batch.image), text)
        return self.model.with_exocentric(batch.image, text, batch.exo, batch.exo_mask)

    def heat(self, batch: TestBatch) -> torch.Tensor:
        logits = self.model(batch.image, self.verb_rows[batch.verb])
        return to_heatmaps(logits, (batch.heatmap.shape[-2], batch.heatmap.shape[-1]))[:, 0]

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        groups = parameter_groups(self.model, settings.lr, settings.encoder_lr)
        optimiser = torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)
        factors = [self._factor(float(str(group["lr"]))) for group in groups]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factors)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _factor(self, lr: float) -> Callable[[int], float]:
        return lr_factor(self.recipe, self.steps, lr)


def lr_factor(recipe: Any, steps: int, lr: float) -> Callable[[int], float]:
    """Step -> factor of a group's rate ``lr``: linear warm-up, then constant, or a cosine down to ``train.min_lr``."""
    settings = recipe.train
    floor = min(settings.min_lr / lr, 1.0) if lr else 1.0

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (settings.warmup_steps + 1))
        if settings.schedule == "constant":
            return warm
        return warm * (floor + (1 - floor) * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2)

    return factor


@denormals_flushed()
def train_grounder(
    recipe: GrounderRecipe,
    data: str | Path,
    out: str | Path,
    *,
    split: str = "seen",
    labels: str | Path | None = None,
    manifest: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train the grounding network; return the folder of the selected checkpoint (``OUT/best``).

    Args:
        recipe: all settings, see :func:`vidaff.models.image.recipe.load_grounder_recipe`.
        data: root of AGD20K, or of a tree of the same layout.
        out: receives ``recipe.yaml``, ``text.safetensors``, ``checkpoints/``, ``best/``, ``last/``, ``metrics.csv``
            and TensorBoard logs.
        split: ``seen``, ``unseen`` or ``hard``.
        labels: folder of pseudo-labels, boxes and similarities, if they are not where the data set has them.
        manifest: which objects train and which test, for ``hard``.
        resume: go on from ``out/checkpoints/last.ckpt``; begins anew where there is none.
        overwrite: use ``out`` although it holds files; those of an earlier run go when training begins.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: show a progress bar.
        say: called with some lines for people about the pictures before training begins.

    Raises:
        VidaffError: unusable data, recipe or folder, weights that cannot be had, or a training that diverged.
    """
    run = Run(out, resume=resume, overwrite=overwrite, device=device, progress=progress)
    last = run.resume_point(FORMAT, recipe, grounder_recipe_from_dict, split) if resume else None
    train, test = open_pictures(recipe, data, split, labels, manifest)
    fit, val = split_pictures(train, recipe, test)
    # Deterministic kernels are what makes a resumed run bit-identical.
    L.seed_everything(recipe.train.seed, workers=True, verbose=False)
    network = recipe.network.model_copy(update={"num_affordances": len(train.classes.affordances)})
    pairs = sorted({*train.pairs, *(test.pairs if test else ())})
    where: dict[str, Any] = {"classes": train.classes, "pairs": pairs, "data": data, "split": split, "labels": labels}
    prints = {**picture_prints(train), "text": text_print(recipe.input.text, **where)}
    info = {
        "format": FORMAT,
        **facts(recipe, train, len(fit), data, split),
        "counts": picture_counts(train),
        PRINTS: prints,
        "text": {**recipe.input.text.model_dump(mode="json"), "dim": network.dim},
    }
    run.check_data(info)
    made = run.before.get(PRINTS, {}).get("text") == prints["text"]
    text = text_table(recipe.input.text, network.dim, **where, cache=run.out if run.first and made else None)
    ids = {
        "verbs": train.classes.affordances,
        "nouns": train.classes.objects,
        "parts": [" ".join(pair) for pair in train.pairs],
    }
    module = GrounderModule(
        recipe, network, text=text, ids=ids, asked=[pair[0] for pair in test.pairs] if test else [],
        steps=optimiser_steps(recipe, len(fit)), info=info,
    )  # fmt: skip
    train.use_patch(int(module.model.encoder.patch))  # type: ignore[arg-type]
    run.tell(say, picture_lines(train, len(fit), labels=recipe.train.labels))
    return run.fit(module, GroundingData(train, fit, val, recipe), last)


def open_pictures(
    recipe: GrounderRecipe, data: str | Path, split: str, labels: str | Path | None, manifest: str | Path | None
) -> tuple[Agd20kTrain, Agd20kTest | None]:
    """The training pictures, and those of the test split where ``select=test-kld`` needs them."""
    inputs, settings = recipe.input, recipe.train
    common: dict[str, Any] = {"size": inputs.size[0], "mean": inputs.mean, "std": inputs.std, "manifest": manifest}
    if not Path(data).is_dir():
        raise VidaffError(f"{data}: no such folder")
    train = Agd20kTrain(
        data, split, labels=labels, label=settings.labels,
        num_exo=0 if settings.alignment == "none" else settings.num_exo, exo_choice=settings.exo_choice,
        exo_mask=EXO_MASKS[settings.alignment], stitch=settings.stitch, negatives=settings.stitch_negatives,
        patch=recipe.model.patch, seed=settings.seed, **common,
    )  # fmt: skip
    test = Agd20kTest(data, split, **common) if settings.select == "test-kld" else None
    return train, test


def optimiser_steps(recipe: Any, pictures: int) -> int:
    """Optimiser steps of a whole run."""
    steps: int = recipe.train.epochs * (pictures // recipe.train.batch_size)
    return steps


def picture_prints(train: Agd20kTrain) -> dict[str, str]:
    """Fingerprints of what is trained on, by the names of :mod:`vidaff.training.same_data`."""
    return {name: fingerprint(lines) for name, lines in train.listing().items()}


def facts(recipe: Any, train: Agd20kTrain, pictures: int, data: str | Path, split: str) -> dict[str, Any]:
    """What a checkpoint says of its training; everything in it is JSON."""
    pairs = train.pairs
    return {
        "vidaff": __version__,
        "dataset": "agd20k",
        "split": split,
        "data": Path(data).resolve().name,
        "recipe": recipe.model_dump(mode="json"),
        "input": recipe.input.model_dump(mode="json"),
        "affordances": list(train.classes.affordances),
        "trained": {
            "affordances": sorted({pair[0] for pair in pairs}),
            "objects": sorted({pair[1] for pair in pairs}),
            "pairs": [list(pair) for pair in pairs],
        },
        "train_pictures": pictures,
        "select": recipe.train.select,
    }


class Run:
    """One sitting of a training of the image branch: the folder, what it goes on from, and the trainer."""

    def __init__(self, out: str | Path, *, resume: bool, overwrite: bool, device: str, progress: bool) -> None:
        self.world, self.first = int(os.environ.get("WORLD_SIZE", "1")), os.environ.get("RANK", "0") == "0"
        # The first process may have written there already when another one looks.
        self.out = prepare_output_dir(out, overwrite=overwrite, resume=resume or not self.first)
        self.resumed, self.device, self.progress = resume, device, progress
        self.before: Mapping[str, Any] = {}
        """``info`` of the checkpoint that is gone on from."""
        pick_device(device)

    def resume_point(self, kind: str, recipe: Any, parse: Callable[..., Any], split: str) -> str | None:
        """The last checkpoint, None when there is none yet; refuses one made with other settings."""
        last = last_checkpoint(self.out)
        if not last.is_file():
            return None
        stored = load_torch_file(last).get("hyper_parameters", {})
        if stored.get("format") != kind or not isinstance(stored.get("recipe"), dict):
            raise VidaffError(f"{last}: is of a training of another model; choose another --out")
        changed = changed_keys(parse(stored["recipe"], where=str(last)), recipe)
        before = stored.get("info", {}).get("split")
        changed += ["split"] if before != split else []
        if changed:
            raise VidaffError(
                f"{self.out}: was trained with other settings ({', '.join(changed)}); resume with the same ones"
            )
        self.before = stored.get("info", {})
        return str(last)

    def check_data(self, info: Mapping[str, Any]) -> None:
        """Refuse to go on with other data than those of the checkpoint; ``info`` is that of a module."""
        same = ("affordances", "trained", "train_pictures", PRINTS)
        check_same_data(self.out, self.before, {key: info[key] for key in same})

    def tell(self, say: Callable[[str], None] | None, lines: Iterable[str]) -> None:
        """Say ``lines``, once for all processes."""
        if self.first and say is not None:
            for line in lines:
                say(line)

    def fit(self, module: HeatmapModule, data: GroundingData, last: str | None) -> Path:
        """Train, and return the folder of the selected checkpoint."""
        if self.first:
            if not self.resumed:
                clear_run(self.out)
            write_text(self.out / "recipe.yaml", dump_recipe(module.recipe))
            module.begin(self.out)
        quiet_lightning()
        trainer = self._trainer(module)
        fit(trainer, module, data, out=self.out, last=last, first=self.first)
        return self.out / "best"

    def _trainer(self, module: HeatmapModule) -> L.Trainer:
        settings, out = module.recipe.train, self.out
        sitting, local = next_sitting(out), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        callbacks: list[Callback] = [FiniteGuard(), Export(out), *checkpoint_callbacks(out, type(module))]
        if settings.max_minutes is not None:
            callbacks.append(TimeLimit(settings.max_minutes, out))
        if self.progress:
            callbacks.append(TQDMProgressBar(refresh_rate=1))
        return L.Trainer(
            default_root_dir=out,
            accelerator="gpu" if self.device == "cuda" else self.device,
            devices=local,
            num_nodes=max(1, self.world // local),
            # Encoders of other kinds hold weights that no output depends on.
            strategy="ddp_find_unused_parameters_true" if self.world > 1 else "auto",
            precision="bf16-mixed" if settings.precision == "bf16" else "32-true",
            max_epochs=settings.epochs,
            accumulate_grad_batches=accumulation(module.recipe, world=self.world),
            gradient_clip_val=settings.clip_grad or None,
            check_val_every_n_epoch=settings.val_every,
            limit_val_batches=0 if settings.select == "last" else 1.0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
            callbacks=callbacks,
            logger=[CSVLogger(out, name="logs", version=sitting), TensorBoardLogger(out, name="logs", version=sitting)],
            plugins=[AtomicCheckpointIO()],
            enable_progress_bar=self.progress,
            enable_model_summary=False,
        )
