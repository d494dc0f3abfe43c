"""Still pictures through ``vidaff data prepare`` and back, with the classes of their own set."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from dataset_tests import DatasetTests
from still_trees import write_iit, write_umd, write_utkinect

from vidaff.cli import cli
from vidaff.datasets import ClipDataset, load_dataset
from vidaff.datasets.prepare import PrepareSettings, prepare_clips
from vidaff.datasets.prepared import PreparedClips
from vidaff.datasets.prepared_stills import PreparedStills
from vidaff.datasets.taxonomies import IIT_AFF, TAXONOMIES, UMD, taxonomy_of
from vidaff.errors import VidaffError

SETTINGS = PrepareSettings(size=(24, 32), flow="none")


def prepare(name: str, root: Path, out: Path, settings: PrepareSettings = SETTINGS, **options: bool) -> Path:
    return prepare_clips(name, root, out, settings, workers=1, progress=False, **options)


class TestPreparedUmd(DatasetTests):
    def make(self, folder: Path) -> Path:
        return prepare("umd", write_umd(folder), folder / "umd.h5")

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("umd", root, split)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("stills")
    roots = {"umd": write_umd(folder / "u"), "iit-aff": write_iit(folder / "i")}
    return {name: prepare(name, root, folder / f"{name}.h5") for name, root in roots.items()} | {
        f"{name} tree": root for name, root in roots.items()
    }


@pytest.mark.parametrize("name", ["umd", "iit-aff"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_the_file_holds_what_the_tree_gives(files: dict[str, Path], name: str, split: str) -> None:
    stored = load_dataset(name, files[name], split)
    read = load_dataset(name, files[f"{name} tree"], split, size=(24, 32))
    assert len(stored) == len(read) > 0 and isinstance(stored, PreparedStills)
    for index in range(len(read)):
        a, b = stored.read(index), read.read(read.index_of(stored.name(index)))
        for field in vars(a):
            one, other = getattr(a, field), getattr(b, field)
            assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, field


@pytest.mark.parametrize("name", ["umd", "iit-aff"])
def test_the_file_carries_boxes_where_the_set_has_them(files: dict[str, Path], name: str) -> None:
    stored = load_dataset(name, files[name], "train")
    read = load_dataset(name, files[f"{name} tree"], "train", size=(24, 32))
    assert stored.object_kinds == read.object_kinds == (IIT_AFF.objects if name == "iit-aff" else ())
    for index in range(len(read)):
        boxes = read.object_boxes(read.index_of(stored.name(index)))
        assert stored.object_boxes(index) == boxes and (boxes is None) == (name == "umd")


def test_damaged_boxes_are_one_clear_line_and_older_files_have_none(files: dict[str, Path], tmp_path: Path) -> None:
    name = load_dataset("iit-aff", files["iit-aff"], "train").name(0)
    damage = ["[", "5", '[["spoon", 0, 0, 1, 1]]', '[["knife", 0, 0, 1]]', '[["knife", 0, 0, 0, NaN]]', "[[1]]", None]
    for number, text in enumerate(damage):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(files["iit-aff"].read_bytes())
        with h5py.File(path, "r+") as file:
            del file[f"train/{name}"].attrs["boxes"]
            if text is not None:
                file[f"train/{name}"].attrs["boxes"] = text
        stored = load_dataset("iit-aff", path, "train")
        if text is None:
            assert stored.object_kinds == () and stored.object_boxes(0) is None
            continue
        with pytest.raises(VidaffError, match=f"clip {name}: damaged boxes") as caught:
            stored.object_boxes(0)
        assert "\n" not in str(caught.value)


def test_the_file_names_its_classes(files: dict[str, Path]) -> None:
    with h5py.File(files["umd"]) as file:
        assert json.loads(file.attrs["classes"]) == [*UMD.affordances, "background"]
        assert len(json.loads(file.attrs["colours"])) == 8
    stored = load_dataset("iit-aff", files["iit-aff"], "val")
    assert isinstance(stored, PreparedStills) and stored.taxonomy is IIT_AFF and stored.size == (24, 32)


def test_code_that_knows_only_sor3d_refuses_the_file(files: dict[str, Path]) -> None:
    with pytest.raises(VidaffError, match="made for other classes"):
        PreparedClips(files["umd"], "train")
    for name, other in (("umd", "iit-aff"), ("iit-aff", "umd")):
        with pytest.raises(VidaffError, match=f"holds clips of '{name}', not of '{other}'"):
            load_dataset(other, files[name], "train")


def test_damage_is_one_clear_line(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    path.write_bytes(files["umd"].read_bytes())
    with h5py.File(path, "r+") as file:
        file["train/bowl_01_00000001/mask"][0, 0] = 8
    with pytest.raises(VidaffError, match=r"values other than 0\.\.7 and 255"):
        load_dataset("umd", path, "train").read(0)
    with h5py.File(path, "r+") as file:
        file.attrs["classes"] = "[]"
    with pytest.raises(VidaffError, match="made for other classes"):
        load_dataset("umd", path, "train")
    with h5py.File(path, "r+") as file:
        file.attrs["classes"] = "{"
    with pytest.raises(VidaffError, match="damaged prepared file"):
        load_dataset("umd", path, "train")


def test_resume_and_options_of_the_set(files: dict[str, Path], tmp_path: Path) -> None:
    root, out = files["umd tree"], tmp_path / "u.h5"
    novel = replace(SETTINGS, centre_crop=40, dataset_options={"protocol": "novel", "labels": "ranked"})
    prepare("umd", root, out, novel)
    before = out.stat().st_mtime_ns
    assert prepare("umd", root, out, novel, resume=True).stat().st_mtime_ns == before
    with pytest.raises(VidaffError, match="made with other settings"):
        prepare("umd", root, out, SETTINGS, resume=True)
    clips = load_dataset("umd", out, "val")
    assert {clips.info(index).object for index in range(len(clips))} == {"ladle"}
    affordances = clips.read(0).affordances
    assert affordances is not None and {int(value).bit_count() for value in np.unique(affordances)} == {0, 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flow": "pd-dis"}, "still pictures do not move"), ({"clip_length": 3}, "take no clip_length=3"),
        ({"geometry": "crop"}, "take no geometry='crop'"), ({"black_is_ignore": True}, "take no black_is_ignore"),
        ({"dataset_options": {"protocol": "z"}}, "protocol is one of"), ({"fps": 5.0}, "take no fps=5.0"),
        ({"dataset_options": {"order": "z"}}, "take no option 'order'"),
        ({"dataset_options": {"size": "300"}}, "take no option 'size'; known: protocol"),
    ],
)  # fmt: skip
def test_settings_of_clips_are_refused(
    files: dict[str, Path], tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(VidaffError, match=message):
        prepare("umd", files["umd tree"], tmp_path / "u.h5", replace(SETTINGS, **settings))  # type: ignore[arg-type]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["data", *map(str, arguments)], catch_exceptions=False)


def test_the_verb_stores_no_flow_of_still_pictures(files: dict[str, Path], tmp_path: Path) -> None:
    arguments = ("prepare", "umd", files["umd tree"], tmp_path / "u.h5", "--size", 16, "--workers", 1)
    result = run(*arguments, "--option", "protocol=novel", "--centre-crop", 40)
    assert result.exit_code == 0, result.output
    clips = load_dataset("umd", tmp_path / "u.h5", "val")
    assert clips.read(0).flow is None and len(clips) == 4
    assert "write KEY=VALUE" in CliRunner().invoke(cli, ["data", *map(str, arguments), "--option", "novel"]).output


def test_sets_without_pixels_to_learn_cannot_be_prepared(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="utkinect: clips of this data set cannot be prepared"):
        prepare("utkinect", write_utkinect(tmp_path), tmp_path / "u.h5")


@pytest.mark.parametrize("name", TAXONOMIES)
def test_every_taxonomy_has_a_colour_for_every_class(name: str) -> None:
    taxonomy = taxonomy_of(name)
    colours = [*taxonomy.colours, taxonomy.background_colour]
    assert len(set(colours)) == len(taxonomy.classes) == taxonomy.background + 1
    assert all(len(colour) == 3 and min(colour) >= 0 and max(colour) <= 255 for colour in colours)
    ids = np.arange(taxonomy.background + 1, dtype=np.uint8)
    assert np.array_equal(taxonomy.from_disk()[taxonomy.to_disk()[ids]], ids)
    assert (taxonomy.from_disk()[taxonomy.background + 1 :] == 255).all()


def test_sets_without_labels_have_no_taxonomy() -> None:
    with pytest.raises(VidaffError, match="'utkinect' has no affordance labels"):
        taxonomy_of("utkinect")
