"""Preparing and reading back: same numbers, resumable, atomic, and clear about damage."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from io import FileIO
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_tests import DatasetTests, check_clip
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.trees import write_own_clip, write_recording, write_sor3d
from vidaff.datasets import Clip, ClipDataset, load_dataset
from vidaff.datasets import prepare as module
from vidaff.datasets.prepare import PrepareSettings, compute_flow, prepare_clips, write_clip
from vidaff.datasets.prepared import PreparedClips
from vidaff.datasets.sor3d_aff import Sor3dAff
from vidaff.datasets.taxonomy import CLASSES
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics, unpack_flow

SMALL = PrepareSettings(size=(16, 24))


def prepare(root: Path, out: Path, wanted: PrepareSettings = SMALL, **options: bool) -> Path:
    return prepare_clips("sor3d-aff", root, out, wanted, workers=1, progress=False, **options)


class TestPreparedClips(DatasetTests):
    def make(self, folder: Path) -> Path:
        return prepare(write_sor3d(folder / "tree"), folder / "clips.h5", PrepareSettings(size=(32, 40)))

    def open(self, root: Path, split: str) -> ClipDataset:
        return load_dataset("sor3d-aff", root, split)


class TestPreparedWithoutExtras(DatasetTests):
    split = "val"

    def make(self, folder: Path) -> Path:
        tree = write_sor3d(folder / "tree", extras=False)
        return prepare(tree, folder / "clips.h5", PrepareSettings(size=(32, 32), flow="dis2d", fps=None))

    def open(self, root: Path, split: str) -> ClipDataset:
        return PreparedClips(root, split)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sor3d(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tree, tmp_path_factory.mktemp("out") / "clips.h5")


def test_prepared_clips_equal_the_tree(tree: Path, prepared: Path) -> None:
    for split in ("train", "val"):
        source, stored = Sor3dAff(tree, split, size=(16, 24)), PreparedClips(prepared, split)
        assert [source.name(i) for i in range(len(source))] == [stored.name(i) for i in range(len(stored))]
        for index in range(len(source)):
            a, b = source.read(index), stored.read(index)
            for name in ("rgb", "depth", "mask", "affordances"):
                assert np.array_equal(getattr(a, name), getattr(b, name)), name
            assert (a.intrinsics, a.fps, a.action) == (b.intrinsics, b.fps, b.action)
            assert stored.length(index) == len(a.rgb)
            assert b.flow is not None and not b.flow[0][a.depth[0] > 0].any()  # type: ignore[index]


def test_the_stored_flow_is_that_of_a_stream(tree: Path, prepared: Path) -> None:
    clip = PreparedClips(prepared, "train").read(0)
    assert np.array_equal(compute_flow(replace(clip, flow=None), "pd-dis"), clip.flow)  # type: ignore[arg-type]


def test_computed_flow_finds_the_motion(tmp_path: Path) -> None:
    """The texture moves a pixel a frame: 0.8 m / 40 px = 20 mm to the right."""
    write_recording(tmp_path / "tree" / "train", "Subject1_cut_a_knife", size=(64, 64))
    path = prepare(tmp_path / "tree", tmp_path / "c.h5", PrepareSettings(size=(64, 64)))
    flow, valid = unpack_flow(PreparedClips(path, "train").read(0).flow[2])  # type: ignore[index]
    assert valid.mean() > 0.9
    assert np.median(flow[8:-8, 8:-8, 0]) == pytest.approx(0.02, abs=0.004)


def test_exact_flow_and_no_flow(tree: Path, tmp_path: Path) -> None:
    exact = prepare(tree, tmp_path / "a.h5", replace(SMALL, flow="exact"))
    assert (PreparedClips(exact, "train").read(0).flow[1:, ..., 0] == 27).all()  # type: ignore[index]
    none = prepare(tree, tmp_path / "b.h5", replace(SMALL, flow="none"))
    assert PreparedClips(none, "train").read(0).flow is None


def test_the_settings_are_kept_in_the_file(prepared: Path) -> None:
    clips = PreparedClips(prepared, "train")
    assert clips.size == (16, 24) and clips.fps == 10 and clips.dataset == "sor3d-aff"
    assert clips.settings["flow"] == "pd-dis" and clips.settings["flow_settings"]["method"] == "pd-dis"


def test_two_workers_write_the_same(tree: Path, prepared: Path, tmp_path: Path) -> None:
    other = prepare_clips("sor3d-aff", tree, tmp_path / "c.h5", SMALL, workers=2, progress=False)
    for split in ("train", "val"):
        one, two = PreparedClips(prepared, split), PreparedClips(other, split)
        assert all(np.array_equal(one.read(i).flow, two.read(i).flow) for i in range(len(one)))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [other]


def test_a_stopped_run_goes_on(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, done = tmp_path / "c.h5", [0]

    def stop_after_two(split: str, index: int) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        real(split, index)
        done.append(index)

    real = module._prepare_one
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_prepare_one", stop_after_two)
        prepare(tree, out)
    assert not out.exists()
    with pytest.raises(VidaffError, match="pass --resume"):
        prepare(tree, out)
    with pytest.raises(VidaffError, match="other settings"):
        prepare(tree, out, replace(SMALL, flow="none"), resume=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert len(before) == 2
    monkeypatch.setattr(module.shutil, "rmtree", lambda *args, **kwargs: None)
    prepare(tree, out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # not made again
    assert len(PreparedClips(out, "train")) == 3


def test_an_existing_file_is_kept_unless_told_otherwise(tree: Path, tmp_path: Path) -> None:
    out = prepare(tree, tmp_path / "c.h5")
    with pytest.raises(VidaffError, match="exists already"):
        prepare(tree, out)
    assert prepare(tree, out, resume=True) == out
    with pytest.raises(VidaffError, match="other settings"):
        prepare(tree, out, replace(SMALL, flow="none"), resume=True)
    prepare(tree, out, replace(SMALL, flow="none"), overwrite=True)
    assert PreparedClips(out, "train").settings["flow"] == "none"


def test_a_finished_file_is_of_its_own_folder_and_of_all_its_clips(tree: Path, tmp_path: Path) -> None:
    mine, out = tmp_path / "set" / "mine", tmp_path / "set" / "c.h5"
    shutil.copytree(tree, mine)
    prepare(mine, out)
    assert prepare(mine, out, resume=True) == out
    shutil.copytree(tree, tmp_path / "set" / "other")
    with pytest.raises(VidaffError, match=r"made from another folder, 'mine', than .*other; pass --overwrite"):
        prepare(tmp_path / "set" / "other", out, resume=True)
    moved = (tmp_path / "set").rename(tmp_path / "moved")
    assert prepare(moved / "mine", moved / "c.h5", resume=True) == moved / "c.h5"
    write_recording(moved / "mine" / "train", "Subject9_cut_a_knife")
    with pytest.raises(VidaffError, match="where 1 are new and 0 gone; pass --overwrite to replace it, or remove it"):
        prepare(moved / "mine", moved / "c.h5", resume=True)
    assert len(PreparedClips(prepare(moved / "mine", moved / "c.h5", overwrite=True), "train")) == 4
    with h5py.File(moved / "c.h5", "r+") as file:
        del file.attrs["source"]  # as older versions wrote it
    assert prepare(moved / "mine", moved / "c.h5", resume=True) == moved / "c.h5"


def test_a_bad_clip_leaves_no_file(tmp_path: Path) -> None:
    tree = write_sor3d(tmp_path / "tree")
    bad = tree / "val" / "Subject3_push_x_book" / "rgb" / "0002.png"
    bad.write_bytes(bad.read_bytes()[:60])
    for workers in (1, 2):
        with pytest.raises(VidaffError, match=r"0002\.png: truncated"):
            prepare_clips("sor3d-aff", tree, tmp_path / "c.h5", SMALL, workers=workers, progress=False, overwrite=True)
        assert not (tmp_path / "c.h5").exists()


def test_a_full_disk_is_one_line(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vidaff.datasets.prepare.write_clip", full)
    with pytest.raises(VidaffError, match=r"cannot write .*No space left"):
        prepare(tree, tmp_path / "c.h5")


def prepare_parts(tree: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the joining, for which the disk seems to be too full."""
    with monkeypatch.context() as patch, pytest.raises(VidaffError, match="free some space and continue with --resume"):
        patch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
        prepare(tree, out)


def test_a_disk_too_full_to_join_keeps_the_parts(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "c.h5"
    prepare_parts(tree, out, monkeypatch)
    assert not out.exists()
    prepare(tree, out, resume=True)
    assert len(PreparedClips(out, "train")) == 3


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from vidaff.cli import main
main()
"""


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_disk_that_fills_up_while_joining_is_one_line(
    tree: Path, prepared: Path, tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: HDF5 would crash at its end. A limit for the size of files stands for the disk."""
    out, limit = tmp_path / "c.h5", int(share * prepared.stat().st_size)
    prepare_parts(tree, out, monkeypatch)
    arguments = ["data", "prepare", "sor3d-aff", tree, out, "--size", "16x24", "--workers", "1", "--resume"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"Error: cannot write .*c\.h5: .*File too large; free some space .*--resume\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["c.h5.parts"]
    prepare(tree, out, resume=True)
    assert len(PreparedClips(out, "train")) == 3


def test_ctrl_c_while_joining_leaves_the_parts(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes in the middle of a write, where HDF5 would take it for a failed one."""

    class Interrupted(FileIO):
        def write(self, data: object) -> int:
            if self.tell() > 20_000:
                signal.raise_signal(signal.SIGINT)
            return super().write(data)  # type: ignore[arg-type]

    out = tmp_path / "c.h5"
    # Tests that run in the background of a shell begin with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "open", lambda path, mode, buffering: Interrupted(path, "r+"), raising=False)
            prepare(tree, out)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.iterdir()] == ["c.h5.parts"]
    prepare(tree, out, resume=True)
    assert len(PreparedClips(out, "train")) == 3


def test_a_folder_is_not_replaced_by_the_file(tree: Path, tmp_path: Path) -> None:
    for overwrite in (False, True):
        with pytest.raises(VidaffError, match="is a folder"):
            prepare(tree, tmp_path, overwrite=overwrite)


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    write_recording(tmp_path / "tree" / "train", "Subject1_cut_\udcff_knife")
    with pytest.raises(VidaffError, match="its name is not UTF-8"):
        prepare(tmp_path / "tree", tmp_path / "c.h5")
    assert not (tmp_path / "c.h5").exists()


@pytest.mark.parametrize(
    ("flow", "extras", "message"),
    [
        ("dis", False, "has no depth; use --flow dis2d"),
        ("exact", False, "no stored flow"),
        ("magic", True, "unknown flow"),
    ],
)
def test_flow_that_cannot_be_had(tmp_path: Path, flow: str, extras: bool, message: str) -> None:
    tree = write_sor3d(tmp_path / "tree", extras=extras)
    with pytest.raises(VidaffError, match=message):
        prepare(tree, tmp_path / "c.h5", PrepareSettings(size=(16, 16), flow=flow))


def test_depth_without_a_camera_is_refused(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "tree" / "train", "Subject1_cut_a_knife")
    (folder / "intrinsics.yaml").unlink()
    with pytest.raises(VidaffError, match=r"add intrinsics\.yaml"):
        prepare(tmp_path / "tree", tmp_path / "c.h5")


def test_own_clips_are_prepared_too(tmp_path: Path) -> None:
    write_own_clip(tmp_path / "clips" / "a")
    out = prepare_clips("own-clips", tmp_path / "clips", tmp_path / "c.h5", SMALL, workers=1, progress=False)
    assert load_dataset("own-clips", out, "train").read(0).object == "knife"
    with pytest.raises(VidaffError, match="holds clips of 'own-clips'"):
        load_dataset("sor3d-aff", out, "train")
    with pytest.raises(VidaffError, match="no clips of split 'val'"):
        load_dataset("own-clips", out, "val")


def _first_pixel(clips: PreparedClips) -> int:
    return int(clips.read(0).rgb[0, 8, 8, 2])


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_opened_data_set_goes_to_other_processes(prepared: Path, method: str) -> None:
    clips = PreparedClips(prepared, "train")
    here = _first_pixel(clips)
    with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
        assert pool.submit(_first_pixel, clips).result() == here


def attribute(name: str, value: object) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return spoil


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def text(path: Path) -> None:
    path.write_text("not HDF5")


def of_clip(name: str, value: object) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["train/Subject1_cut_a_knife"].attrs[name] = value

    return spoil


def no_version(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs["height"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncate, "truncated"),
        (text, "not a readable HDF5"),
        (attribute("format", "other"), "not of prepared clips"),
        (attribute("version", 2), "version 2 of the format"),
        (attribute("classes", json.dumps(["a"])), "other classes"),
        (attribute("settings", "{"), "damaged"),
        (attribute("settings", "[]"), "settings are no mapping"),
        (no_version, "damaged"),
        (attribute("fps", float("nan")), "no frame rate"),
        (of_clip("fps", 0.0), "no frame rate"),
        (of_clip("action", 99), "action 99"),
        (of_clip("action", -5), "action -5"),
        (of_clip("fx", float("nan")), "finite"),
    ],
)
def test_a_foreign_or_damaged_file_is_one_clear_line(
    prepared: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "c.h5"
    shutil.copy(prepared, path)
    spoil(path)
    with pytest.raises(VidaffError, match=message):
        PreparedClips(path, "train")


def array(name: str, values: object) -> Callable[[h5py.Group], object]:
    return lambda group: group.create_dataset(name, data=values)


def endless(group: h5py.Group) -> None:
    group.create_dataset("rgb", (10**9, 16, 24, 3), np.uint8, chunks=(1, 16, 24, 3))
    for name in ("depth", "flow"):
        del group[name]


@pytest.mark.parametrize(
    ("name", "put", "message"),
    [
        ("mask", array("mask", np.zeros((3, 3), np.uint8)), "does not go with the frames"),
        ("depth", array("depth", np.zeros((1, 16, 24), np.uint16)), "does not go with the frames"),
        ("mask", array("mask", np.full((16, 24), 200, np.uint8)), "values other than"),
        ("rgb", array("rgb", "text"), "rgb must be uint8"),
        ("rgb", lambda group: group.create_group("rgb"), "rgb must be uint8"),
        ("rgb", endless, "cannot be read"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    prepared: Path, tmp_path: Path, name: str, put: Callable[[h5py.Group], object], message: str
) -> None:
    path = tmp_path / "c.h5"
    shutil.copy(prepared, path)
    with h5py.File(path, "r+") as file:
        group = file["train/Subject1_cut_a_knife"]
        del group[name]
        put(group)
    with pytest.raises(VidaffError, match=message):
        PreparedClips(path, "train").read(0)


def test_missing_files_and_options(tmp_path: Path, prepared: Path) -> None:
    with pytest.raises(VidaffError, match="vidaff data prepare"):
        PreparedClips(tmp_path / "none.h5", "train")
    with pytest.raises(VidaffError, match="takes no options, got size"):
        load_dataset("sor3d-aff", prepared, "train", size=(8, 8))
    with pytest.raises(VidaffError, match="no such folder"):
        prepare(tmp_path / "nowhere", tmp_path / "c.h5")


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    frames, height, width = (draw(st.integers(1, 4)) for _ in range(3))

    def array(kind: type, *shape: int) -> st.SearchStrategy[np.ndarray | None]:
        return st.none() | hnp.arrays(kind, shape)

    return Clip(
        name="Subject1_cut_0_cup",
        rgb=draw(hnp.arrays(np.uint8, (frames, height, width, 3))),
        depth=draw(array(np.uint16, frames, height, width)),
        flow=draw(array(np.int16, frames, height, width, 3)),
        mask=draw(st.none() | hnp.arrays(np.uint8, (height, width), elements=st.sampled_from([*range(10), 255]))),
        affordances=draw(array(np.uint16, height, width)),
        action=draw(st.integers(-1, 8)),
        object=draw(st.sampled_from(["", "cup", "Tasse größer"])),
        subject="Subject1",
        intrinsics=draw(st.none() | st.builds(Intrinsics, *[st.floats(1, 1e4)] * 4)),
        fps=draw(st.floats(1, 100)),
    )


@settings(max_examples=25, deadline=None)
@given(clip=clips())
def test_any_clip_survives_the_file(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("h5") / "c.h5"
    with h5py.File(path, "w") as file:
        write_clip(file.create_group(f"val/{clip.name}"), clip, clip.flow)
        head = {"height": 1, "width": 1, "fps": 1.0, "settings": "{}", "classes": json.dumps(CLASSES)}
        file.attrs.update(format="vidaff-clips", version=1, dataset="sor3d-aff", **head)
    stored = PreparedClips(path, "val").read(0)
    for name in vars(stored):
        a, b = getattr(clip, name), getattr(stored, name)
        assert np.array_equal(a, b) and a.dtype == b.dtype if isinstance(a, np.ndarray) else a == b, name
    check_clip(replace(stored, mask=None, affordances=None))
