"""``vidaff ground`` as a user calls it: scikit-image's coffee picture end to end, files, errors in one line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from click.testing import CliRunner

from tests.grounders import save_clip, save_tiny_grounder
from vidaff.cli import main
from vidaff.cli.ground import command
from vidaff.io import read_image, read_label_image, write_image

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Path:
    return save_tiny_grounder(tmp_path_factory.mktemp("grounder"), clip)


def run(*arguments: Any) -> str:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> str:
    """The one line of a command that must fail with exit code 2, run in this process."""
    monkeypatch.setattr(sys, "argv", ["vidaff", "ground", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    said = capsys.readouterr().err
    assert caught.value.code == 2 and len(said.strip().splitlines()) == 1
    return said


def test_coffee_end_to_end(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    said = run(COFFEE, "--query", "hold", "--query", "grab it", "--checkpoint", checkpoint, "--out", out, "--points", 3)
    assert "coffee.png: hold: peak at" in said
    assert "coffee.png: grab it (unknown word, nearest known affordance" in said
    names = sorted(path.name for path in (out / "coffee").iterdir())
    kinds = (".json", ".npy", ".png", "_mask.png")
    assert names == sorted(f"{query}{kind}" for query in ("hold", "grab_it") for kind in kinds)
    picture = read_image(COFFEE)
    heat = np.load(out / "coffee" / "hold.npy", allow_pickle=False)
    assert heat.shape == picture.shape[:2] and heat.dtype == np.float32
    assert heat.sum(dtype=np.float64) == pytest.approx(1, abs=1e-4)
    assert read_image(out / "coffee" / "hold.png").shape == picture.shape
    mask = read_label_image(out / "coffee" / "hold_mask.png")
    assert ((mask == 255) == (heat >= heat.max() * np.float32(0.5))).mean() > 0.999 and set(np.unique(mask)) <= {0, 255}
    record = json.loads((out / "coffee" / "hold.json").read_text())
    assert record["size"] == [600, 400] and record["known"] and record["nearest"] == "hold"
    points = record["points"]
    assert len(points) == 3 and points[0]["heat"] == 1 and heat[points[0]["y"], points[0]["x"]] == heat.max()
    assert np.hypot(points[0]["x"] - points[1]["x"], points[0]["y"] - points[1]["y"]) >= 600 / 14 - 1


def test_folders_equal_names_raw_pictures_and_levels(tmp_path: Path, checkpoint: Path) -> None:
    for folder in ("a", "b"):
        write_image(tmp_path / folder / "x.png", np.full((40, 60, 3), 90, np.uint8))
    queries = ["--query", "cut_with", "--query", "cut with", "--query", "CUT/with"]
    out, pictures = tmp_path / "out", (tmp_path / "a", tmp_path / "b" / "x.png")
    run(*pictures, *queries, "--checkpoint", checkpoint, "--out", out, "--raw", "png", "--level", 0, "--points", 0)
    assert sorted(path.name for path in out.iterdir()) == ["x", "x-2"]
    assert sorted(path.name for path in (out / "x").glob("*.json")) == ["CUT_with-2.json", "cut_with.json"]
    import cv2

    heat = cv2.imread(str(out / "x-2" / "cut_with_heat.png"), cv2.IMREAD_UNCHANGED)
    assert heat.dtype == np.uint16 and heat.max() == 65535
    assert json.loads((out / "x" / "cut_with.json").read_text())["mask_share"] == 1
    assert not list(out.rglob(".*"))


def space(tmp_path: Path) -> list[Any]:
    """Picture, depth, camera and three grasps: one seen, one outside, one behind."""
    write_image(tmp_path / "rgb.png", np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    write_image(tmp_path / "depth.png", np.full((120, 160), 800, np.uint16))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, 3] = [(0, 0, 0.8), (5, 0, 0.8), (0, 0, -0.8)]
    np.save(tmp_path / "grasps.npy", poses)
    return [
        tmp_path / "rgb.png", "--query", "hold", "--grasps", tmp_path / "grasps.npy", "--depth", tmp_path / "depth.png"
    ]  # fmt: skip


def test_grasps_and_point_cloud(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "out"
    said = run(*space(tmp_path), "--intrinsics", "150,150,79.5,59.5", "--checkpoint", checkpoint, "--out", out)
    assert "best grasp 0 of 3 (1 behind the camera, 1 outside the picture)" in said
    grasps = json.loads((out / "rgb" / "hold.json").read_text())["grasps"]
    assert [grasp["index"] for grasp in grasps] == [0, 1, 2] and grasps[0]["pixel"] == [79.5, 59.5]
    import open3d as o3d

    cloud = o3d.t.io.read_point_cloud(str(out / "rgb" / "hold.ply"))
    positions, heat = cloud.point.positions.numpy(), cloud.point.heat.numpy()
    assert len(positions) > 120 * 160 and heat.min() >= 0 and heat.max() == 1
    np.testing.assert_allclose(positions[0], [(0 - 79.5) / 150 * 0.8, (0 - 59.5) / 150 * 0.8, 0.8], rtol=1e-5)
    plain = run(tmp_path / "rgb.png", "--query", "hold", "--checkpoint", checkpoint, "--out", tmp_path / "plain")
    assert "best grasp" not in plain
    assert (read_image(out / "rgb" / "hold.png") != read_image(tmp_path / "plain" / "rgb" / "hold.png")).any()


def test_depth_arrays_with_a_scale_and_a_pose(tmp_path: Path, checkpoint: Path) -> None:
    arguments = space(tmp_path)
    np.save(tmp_path / "depth.npy", np.full((1, 120, 160), 0.8, np.float32) * 2)
    arguments[-1] = tmp_path / "depth.npy"
    pose = np.eye(4)
    pose[2, 3] = 1.7
    np.save(tmp_path / "pose.npy", pose)
    out = tmp_path / "out"
    said = run(
        *arguments, "--depth-scale", 2, "--pose", tmp_path / "pose.npy", "--checkpoint", checkpoint, "--out", out
    )
    assert "60-degree" in said and "of 3 (1 outside the picture)" in said
    import open3d as o3d

    assert o3d.t.io.read_point_cloud(str(out / "rgb" / "hold.ply")).point.positions.numpy()[0, 2] == pytest.approx(0.8)


def test_a_checkpoint_without_words_takes_a_text_model(tmp_path: Path, clip: Path) -> None:
    folder = save_tiny_grounder(tmp_path / "model", clip, kind=None)
    arguments = (COFFEE, "--query", "sip", "--checkpoint", folder, "--text-model", clip, "--precision", "bf16")
    assert "sip (unknown word): peak at" in run(*arguments, "--out", tmp_path / "out")


def test_user_errors_end_with_one_line_and_exit_code_two(
    tmp_path: Path, checkpoint: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = save_tiny_grounder(tmp_path / "bare", clip, kind=None)
    (tmp_path / "broken.png").write_bytes(COFFEE.read_bytes()[:5000])
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("")
    usual = ["--checkpoint", checkpoint, "--out", tmp_path / "o"]
    scene = [*space(tmp_path), *usual]
    np.save(tmp_path / "small.npy", np.ones((5, 5), np.float32))
    shutil.copy(tmp_path / "rgb.png", tmp_path / "other.png")
    cases = [
        ([COFFEE, "--query", "", *usual], "--query: a query must hold a word"),
        ([tmp_path / "none.png", "--query", "hold", *usual], "none.png: no such file"),
        ([full, "--query", "hold", *usual], "holds no pictures"),
        ([tmp_path / "broken.png", "--query", "hold", *usual], "broken.png: truncated"),
        (
            [COFFEE, "--query", "hold", "--checkpoint", tmp_path / "no", "--out", tmp_path / "o"],
            "no such file or folder",
        ),
        ([COFFEE, "--query", "hold", "--checkpoint", bare, "--out", tmp_path / "o"], "has no text feature of this"),
        ([COFFEE, "--query", "hold", "--text-model", tmp_path, *usual, "--query", "x"], "cannot be loaded"),
        ([COFFEE, "--query", "hold", "--checkpoint", checkpoint, "--out", full], "already holds files"),
        ([tmp_path / "other.png", *scene], "--grasps belongs to one picture"),
        ([*scene, "--grasps", tmp_path / "depth.png"], ".npy or .json is read"),
        ([*scene, "--depth", tmp_path / "small.npy"], "does not fit the picture"),
        ([*scene, "--intrinsics", "1,2,3"], "--intrinsics"),
        ([COFFEE, "--query", "hold", "--pose", tmp_path / "small.npy", *usual], "--grasps, which is missing"),
    ]
    for arguments, message in cases:
        assert message in error(capsys, monkeypatch, *arguments)
        shutil.rmtree(tmp_path / "o", ignore_errors=True)
    for option in ("--level", "--reach", "--depth-scale"):
        monkeypatch.setattr(
            sys, "argv", ["vidaff", "ground", str(COFFEE), "--query", "hold", *map(str, usual), option, "nan"]
        )
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 2
        capsys.readouterr()


def test_help_shows_examples_and_outputs() -> None:
    said = run("--help")
    for word in ("Examples:", "--text-model", "_mask.png", "--grasps", "nearest known"):
        assert word in said


def test_a_query_that_ends_in_mask_has_files_of_its_own(tmp_path: Path, checkpoint: Path) -> None:
    write_image(tmp_path / "x.png", np.full((40, 60, 3), 90, np.uint8))
    queries = ["--query", "hold", "--query", "hold mask"]
    run(tmp_path / "x.png", *queries, "--checkpoint", checkpoint, "--out", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "x").glob("*.png")}
    assert names == {"hold.png", "hold_mask.png", "hold_mask-1.png", "hold_mask-1_mask.png"}
