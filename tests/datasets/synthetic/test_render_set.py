"""The rendered set on disk: layout, resuming, determinism, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vidaff.cli.synth import command
from vidaff.datasets import load_dataset
from vidaff.datasets.synthetic import SynthSettings, render_sor3d_aff
from vidaff.errors import VidaffError

SMALL = SynthSettings(clips_train=4, clips_val=2, size=32, frames=4)


def render(out: Path, settings: SynthSettings = SMALL, workers: int = 1, **options: bool) -> Path:
    return render_sor3d_aff(out, settings, workers=workers, progress=False, **options)


def content(root: Path) -> dict[str, bytes]:
    """All files of a set by their relative names."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("synth") / "set")


def test_layout_is_the_official_one(root: Path) -> None:
    assert len(list((root / "train").iterdir())) == 4
    assert len(list((root / "val").iterdir())) == 2
    assert (root / "contact_sheet.png").is_file()
    assert json.loads((root / "synth.json").read_text())["size"] == 32
    clip = sorted((root / "train").iterdir())[0]
    frames = [f"{number:04d}.png" for number in range(1, 5)]
    extras = ["z_1_mask.png", "z_2_overlay.png", "z_3_parts.png", "z_4_hotspot.json"]
    assert sorted(path.name for path in (clip / "rgb").iterdir()) == frames + extras
    assert sorted(path.name for path in (clip / "depth").iterdir()) == frames
    assert sorted(path.name for path in (clip / "parts").iterdir()) == frames
    assert {path.name for path in clip.iterdir() if path.is_file()} == {
        "clip.json", "flow.npz", "intrinsics.yaml", "parts.json",
    }  # fmt: skip


def test_the_loader_reads_it(root: Path) -> None:
    dataset = load_dataset("sor3d-aff", root, "train", size=(32, 32), exact_flow=True)
    assert len(dataset) == 4
    for index in range(len(dataset)):
        clip = dataset.read(index)
        assert clip.rgb.shape == (4, 32, 32, 3)
        assert clip.mask is not None and clip.affordances is not None and clip.flow is not None
        assert set(np.unique(clip.mask)) == {clip.action, 9}
        # What the clip's action concerns also affords it in the table of all parts, and the other parts do not.
        np.testing.assert_array_equal(clip.mask == clip.action, clip.affordances & (1 << clip.action) > 0)
        assert len(np.unique(clip.affordances[clip.affordances > 0])) >= 2
        assert clip.fps == 10
        assert clip.intrinsics is not None


def test_hotspot_lies_on_the_part(root: Path) -> None:
    dataset = load_dataset("sor3d-aff", root, "val", size=(32, 32))
    for index in range(len(dataset)):
        folder = root / "val" / dataset.name(index)
        (circle,) = json.loads((folder / "rgb" / "z_4_hotspot.json").read_text())["center"]
        clip = dataset.read(index)
        assert clip.mask is not None
        x, y = int(circle["x_coord"] * 32 / 1920), int(circle["y_coord"] * 32 / 1080)
        assert clip.mask[y, x] == clip.action
        assert circle["radius"] > 0


def test_workers_change_nothing(root: Path, tmp_path: Path) -> None:
    render(tmp_path / "set", workers=2)
    one, two = content(root), content(tmp_path / "set")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one)


def test_resume_renders_only_what_is_missing_and_clears_leftovers(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    lost, kept = sorted((copy / "train").iterdir())[:2]
    shutil.rmtree(lost)
    (copy / "train" / f".{lost.name}.123.tmp" / "rgb").mkdir(parents=True)
    stamp = (kept / "clip.json").stat().st_mtime_ns
    render(copy, resume=True)
    assert content(copy) == content(root)
    assert (kept / "clip.json").stat().st_mtime_ns == stamp
    assert not list((copy / "train").glob(".*"))


def test_resume_adds_clips(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    render(copy, SynthSettings(clips_train=5, clips_val=1, size=32, frames=4), resume=True)
    assert len(list((copy / "train").iterdir())) == 5
    stored = json.loads((copy / "synth.json").read_text())
    assert (stored["clips_train"], stored["clips_val"]) == (5, 2)


def test_no_extras_leaves_out_the_flow(tmp_path: Path) -> None:
    render(tmp_path, SynthSettings(clips_train=1, clips_val=0, size=32, frames=2, extras=False))
    (clip,) = (tmp_path / "train").iterdir()
    assert not (clip / "flow.npz").exists()
    assert (clip / "parts" / "0002.png").is_file()
    assert (clip / "parts.json").is_file()


def test_overwrite_starts_anew_and_touches_nothing_else(tmp_path: Path) -> None:
    settings = SynthSettings(clips_train=1, clips_val=0, size=32, frames=2)
    render(tmp_path, settings)
    (tmp_path / "notes.txt").write_text("mine")
    render(tmp_path, SynthSettings(clips_train=1, clips_val=0, size=40, frames=2), overwrite=True)
    assert json.loads((tmp_path / "synth.json").read_text())["size"] == 40
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "options", "words"),
    [
        (SMALL, {}, "already holds files"),
        (SynthSettings(clips_train=4, clips_val=2, size=48, frames=4), {"resume": True}, "was rendered with size 32"),
        (SynthSettings(clips_train=4, clips_val=2, size=32, frames=4, seed=1), {"resume": True}, "seed"),
        (SMALL, {"resume": True, "overwrite": True}, "one of them"),
    ],
)
def test_refusals(root: Path, settings: SynthSettings, options: dict[str, bool], words: str) -> None:
    before = content(root)
    with pytest.raises(VidaffError, match=words):
        render(root, settings, **options)
    assert content(root) == before


def test_a_folder_with_other_files_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "precious.txt").write_text("x")
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(VidaffError, match=r"no synth\.json"):
            render(tmp_path, SMALL, **options)
    assert (tmp_path / "train" / "precious.txt").is_file()


@pytest.mark.parametrize(
    "bad",
    [{"size": 8}, {"frames": 1}, {"clips_train": -1}, {"clips_train": 0, "clips_val": 0}, {"seed": -1}],
)
def test_impossible_settings(bad: dict[str, int]) -> None:
    with pytest.raises(VidaffError):
        SynthSettings(**bad)  # type: ignore[arg-type]


def test_command_line(tmp_path: Path) -> None:
    arguments = ["sor3d-aff", str(tmp_path / "set"), "--clips-train", "1", "--clips-val", "0", "--size", "32"]
    result = CliRunner().invoke(command, [*arguments, "--frames", "2", "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "1 training" in result.output
    again = CliRunner().invoke(command, arguments)
    assert isinstance(again.exception, VidaffError)
