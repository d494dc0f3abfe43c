"""The whole labelling run again: after a kill, with other settings, with more pictures; and by every engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.labels.toy_chain import content, labelling, tiny_recipe, write_tree
from vidaff.datasets.agd20k import LabelFolder
from vidaff.errors import VidaffError
from vidaff.io import read_json, write_json
from vidaff.labels.chain import STEPS
from vidaff.labels.engine import Engine, find_items, read_manifest
from vidaff.labels.label_recipe import label_recipe_from_dict

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("initial", "objects", "boxes", "similarity", "raw", "refined", "records", "manifest", "refine/best")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def labelled(tree, recipe, tmp_path_factory) -> Path:
    """A complete labelling; not to be changed."""
    out = tmp_path_factory.mktemp("labels") / "out"
    labelling(tree, out, recipe, say=lambda line: None).run()
    return out


@pytest.fixture
def copied(labelled, tmp_path) -> Path:
    shutil.copytree(labelled, tmp_path / "copied")
    return tmp_path / "copied"


def said_by(job_of: Callable, *arguments, steps=STEPS, **changes) -> list[str]:
    lines: list[str] = []
    job_of(*arguments, say=lines.append, **changes).run(steps)
    return lines


def kill_when(ready: Callable[[], bool], *arguments: object) -> None:
    """Run the labelling in a process, and kill it with its workers as soon as ``ready()``."""
    command = [sys.executable, "-m", "tests.labels.toy_chain", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 300
        while not ready():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.002)
        process.kill()


def trains(out: Path) -> bool:
    state = out / "refine/state.json"
    return state.is_file() and not read_json(state)["done"]


def test_killed_in_the_middle_and_run_again_it_is_the_same(tree, recipe, labelled, tmp_path) -> None:
    out, settings = tmp_path / "out", tmp_path / "tiny.yaml"
    tiny_recipe(tmp_path)
    kill_when(lambda: (out / "manifest/objects.jsonl").is_file(), tree, out, settings, "local")
    assert len(read_manifest(out, "objects")) < len(read_manifest(labelled, "objects"))
    record = json.loads((out / "labels.json").read_text())
    assert list(record["settings"]) == ["init", "objects"]
    kill_when(lambda: trains(out), tree, out, settings, "local")
    labelling(tree, out, recipe).run()
    assert content(out, *LABELS) == content(labelled, *LABELS)


@pytest.fixture(scope="module")
def with_one_thread(tree, recipe, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("one") / "out"
    labelling(tree, out, recipe, engine=Engine(threads=1)).run()
    return out


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tree, recipe, with_one_thread, tmp_path) -> None:
    out = tmp_path / "out"
    labelling(tree, out, recipe, engine=Engine("processes", workers=2, threads=1)).run()
    assert content(out, *LABELS) == content(with_one_thread, *LABELS)


@pytest.mark.slow
def test_ray_writes_the_same_bytes(tree, recipe, with_one_thread, tmp_path, monkeypatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # One cluster for all steps, which join it: to start one takes longer than they do.
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=2**28)
    try:
        labelling(tree, tmp_path / "out", recipe, engine=Engine("ray", workers=2, threads=1)).run()
    finally:
        ray.shutdown()
    assert content(tmp_path / "out", *LABELS) == content(with_one_thread, *LABELS)


def test_the_record_says_what_each_step_was_made_with(tree, recipe, tmp_path) -> None:
    part = recipe.part.model_copy(update={"threshold": 0.9})
    strict = recipe.model_copy(update={"part": part})
    labelling(tree, tmp_path / "out", strict).run(("init",))
    labelling(tree, tmp_path / "out", recipe).run(("text",))
    record = json.loads((tmp_path / "out/labels.json").read_text())
    assert record["settings"]["init"]["part"]["threshold"] == record["recipe"]["part"]["threshold"] == 0.9
    assert list(record["settings"]) == ["init", "text"]
    with pytest.raises(VidaffError, match="different settings"):
        labelling(tree, tmp_path / "out", recipe).run(("init",))
    assert json.loads((tmp_path / "out/labels.json").read_text()) == record


def test_the_record_is_there_when_a_later_step_fails(tree, recipe, tmp_path) -> None:
    (tmp_path / "empty").mkdir()  # there, so that no look beforehand tells
    none = recipe.encoder.model_copy(update={"weights": str(tmp_path / "empty")})
    job = labelling(tree, tmp_path / "out", recipe.model_copy(update={"encoder": none}))
    with pytest.raises(VidaffError, match="empty"):
        job.run()
    assert job.ended == ["init", "objects"]
    assert list(json.loads((tmp_path / "out/labels.json").read_text())["steps"]) == ["init", "objects"]


def test_pictures_of_a_new_class_are_done_alone(recipe, tmp_path) -> None:
    tree, out = write_tree(tmp_path / "toy"), tmp_path / "out"
    hidden = find_items(tree, views=("egocentric", "exocentric"))[-1]
    folders = [tree / f"Seen/trainset/{view}/{hidden.affordance}" for view in ("egocentric", "exocentric")]
    for number, folder in enumerate(folders):
        folder.rename(tmp_path / str(number))
    steps = ("init", "objects", "similarity", "text")
    labelling(tree, out, recipe).run(steps)
    for number, folder in enumerate(folders):
        (tmp_path / str(number)).rename(folder)
    lines = said_by(labelling, tree, out, recipe, steps=steps)
    assert not [line for line in lines if "was done before" in line]
    labelling(tree, tmp_path / "fresh", recipe).run(steps)
    kinds = ("initial", "objects", "boxes", "similarity", "records", "manifest")
    assert content(out, *kinds) == content(tmp_path / "fresh", *kinds)
    assert (out / "text.safetensors").read_bytes() == (tmp_path / "fresh/text.safetensors").read_bytes()
    with pytest.raises(VidaffError, match="pass --overwrite"):  # fewer pairs than there are features of
        shutil.rmtree(folders[0])
        labelling(tree, out, recipe).run(("text",))


def test_a_picture_more_in_a_table_of_similarities_needs_overwrite(recipe, tmp_path) -> None:
    tree, out = write_tree(tmp_path / "toy"), tmp_path / "out"
    item = find_items(tree)[0]
    picture = Path(item.source.path)
    picture.rename(tmp_path / "away.png")
    steps = ("init", "objects", "similarity")
    labelling(tree, out, recipe).run(steps)
    (tmp_path / "away.png").rename(picture)
    with pytest.raises(VidaffError, match=f"1 with other pictures or boxes now .*{item.affordance}/{item.object}"):
        labelling(tree, out, recipe).run(steps)
    lines = said_by(labelling, tree, out, recipe, steps=("similarity",), overwrite=True)
    pairs = len(read_manifest(out, "similarity"))
    assert f"({pairs - 1} of {pairs} shards were done before)" in lines[0]


def test_overwrite_keeps_what_holds(tree, recipe, copied) -> None:
    lines = said_by(labelling, tree, copied, recipe, overwrite=True)
    assert all("before" in line for line in lines), lines


def test_a_network_that_is_half_trained_is_not_used(tree, recipe, copied) -> None:
    state = read_json(copied / "refine/state.json")
    write_json(copied / "refine/state.json", {**state, "done": False})
    with pytest.raises(VidaffError, match="not come to its end"):
        labelling(tree, copied, recipe).run(("refine",))


def test_what_would_fail_late_is_said_first(tree, recipe, tmp_path) -> None:
    def fails(message: str, steps=STEPS, **blocks) -> None:
        with pytest.raises(VidaffError, match=message):
            labelling(tree, tmp_path / "out", recipe.model_copy(update=blocks)).run(steps)
        assert not (tmp_path / "out").exists()

    sam3 = recipe.part.segmenter.model_copy(update={"kind": "sam3", "weights": str(tree)})
    clean = recipe.clean.model_copy(update={"regions": "proposer", "proposer": sam3})
    fails("clean: SAM 3 proposes no unnamed regions", clean=clean)
    of_parts = recipe.part.model_copy(update={"segmenter": sam3})
    fails("clean: SAM 3", part=of_parts, clean=clean.model_copy(update={"proposer": None}))
    missing = sam3.model_copy(update={"kind": "sam", "weights": "missing.pth"})
    fails("clean: proposer sam: missing.pth: no such file", clean=clean.model_copy(update={"proposer": missing}))
    fails("text: the text tower", text=recipe.text.model_copy(update={"kind": "clip", "source": None}))
    train = recipe.refine.train.model_copy(update={"pairs": "split"})
    fails("set refine.train.pairs=all", refine=recipe.refine.model_copy(update={"train": train}))


def test_of_a_table_all_pairs_are_refined(tree, recipe, tmp_path) -> None:
    rows = ["image,object,affordance,view"]
    for item in find_items(tree, views=("egocentric", "exocentric")):
        rows.append(f"{os.path.relpath(item.source.path, tree)},{item.object},{item.affordance},{item.view}")
    (tmp_path / "pictures.csv").write_text("\n".join(rows) + "\n")
    train = recipe.refine.train.model_copy(update={"pairs": "split"})
    listed = recipe.model_copy(update={"refine": recipe.refine.model_copy(update={"train": train})})
    assert labelling(tree, tmp_path, listed).refine.train.pairs == "split"
    job = labelling(tree, tmp_path / "out", listed, csv=tmp_path / "pictures.csv")
    assert job.refine.train.pairs == "all"
    with pytest.raises(VidaffError, match="no boxes, which refine-train needs"):  # and not: none of the pairs
        job.run(("text", "refine-train"))


def test_boxes_of_a_million_pictures_are_read_back(labelled, monkeypatch) -> None:
    from vidaff.datasets.agd20k import labels as module

    monkeypatch.setattr("vidaff.io.MAX_JSON_BYTES", 100)
    assert len(LabelFolder(labelled).read_boxes("egocentric") or {}) == 16
    monkeypatch.setattr(module, "MAX_BOXES_BYTES", 100)
    with pytest.raises(VidaffError, match="refused as JSON"):
        LabelFolder(labelled).read_boxes("egocentric")


def test_masks_of_files_that_are_painted_over_are_others(tree, tmp_path) -> None:
    from vidaff.labels.segmenters.files import FileMasks

    shutil.copytree(tree / "Seen/trainset/labels/initial", tmp_path / "masks")
    before = FileMasks(tmp_path / "masks").fingerprint()
    path = next((tmp_path / "masks").rglob("*.png"))
    data = path.read_bytes()
    path.write_bytes(data)
    assert FileMasks(tmp_path / "masks").fingerprint() == before
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert FileMasks(tmp_path / "masks").fingerprint() != before


def test_text_features_know_their_tower_and_its_tokenizer() -> None:
    import torch

    from vidaff.labels.part_names import read_part_names
    from vidaff.labels.steps.text import text_inputs
    from vidaff.models.image.text import TextEncoder
    from vidaff.models.image.text_table import TextSettings

    def tower(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        module = torch.nn.Linear(4, 4)
        module.config = type("Config", (), {"projection_dim": 4})()  # type: ignore[assignment]
        return module

    def made(seed: int, shift: int) -> str:
        def tokenize(phrases):
            return {"input_ids": [[ord(sign) + shift for sign in phrase] for phrase in phrases]}

        encoder = TextEncoder(tower(seed), tokenize)  # type: ignore[arg-type]
        return text_inputs(TextSettings(kind="clip", source="x"), encoder, [("hold", "knife")], read_part_names())

    assert made(0, 0) == made(0, 0)
    assert len({made(0, 0), made(1, 0), made(0, 1)}) == 3


def test_workers_take_the_gpus_in_turn(monkeypatch) -> None:
    import torch

    from vidaff.labels.steps.base import ModelWork

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = []
    for number in range(3):
        work = ModelWork()
        work.take_place(number)
        chosen.append(work.device)
    assert chosen == ["cuda:0", "cuda:1", "cuda:0"]
    for device in ("cpu", "cuda:1"):
        work = ModelWork()
        work.device = device
        work.take_place(0)
        assert work.device == device


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder": {"weights": "missing.pt"}}, r"similarity: encoder.weights 'missing.pt'"),
        ({"refine": {"train": {"features": "missing.pt"}}}, r"refine-train: refine.train.features"),
        ({"text": {"parts": "mine.yaml"}}, "text.parts means nothing here"),
    ],
)
def test_tools_of_late_steps_are_looked_at_first(tree, recipe, tmp_path, change, said) -> None:
    content_ = recipe.model_dump(mode="json")
    for block, values in change.items():
        for key, value in values.items():
            content_[block][key] = {**content_[block][key], **value} if isinstance(value, dict) else value
    job = labelling(tree, tmp_path / "out", label_recipe_from_dict(content_, where="test"))
    with pytest.raises(VidaffError, match=said):
        job.run()
    assert job.ended == []
