"""``vidaff flow``: every kind of source, every output, and bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.toy import write_toy_file
from vidaff.cli.flow import command
from vidaff.errors import VidaffError
from vidaff.flow3d import Flow, decode_flow, job, scene_flow, unpack_flow
from vidaff.io import read_image, read_json, write_image, write_json
from vidaff.media import open_frames

HEIGHT, WIDTH, FOCAL, SHIFT = 96, 128, 100.0, 2
CAMERA = f"{FOCAL},{FOCAL},63.5,47.5"
EXPECTED_X = SHIFT * 0.8 / FOCAL
"""Metres per frame of a wall at 0.8 m that moves two pixels to the right."""


def write_frames(folder: Path, colours: str = "rgb", count: int = 3, units: int = 1000) -> Path:
    """A textured wall at 0.8 m that moves to the right."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (HEIGHT, WIDTH + 40), dtype=np.uint8)
    wide = cv2.normalize(cv2.GaussianBlur(wide, (0, 0), 2.0), None, 0, 255, cv2.NORM_MINMAX)
    for number in range(1, count + 1):
        left = 30 - SHIFT * number
        picture = np.repeat(wide[:, left : left + WIDTH, None], 3, axis=2)
        write_image(folder / colours / f"{number:04d}.png", picture)
        write_image(folder / "depth" / f"{number:04d}.png", np.full((HEIGHT, WIDTH), 0.8 * units, np.uint16))
    return folder


def flow(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def stored(out: Path, number: int) -> np.ndarray:
    with np.load(out / "flow" / f"{number:06d}.npz") as archive:
        return unpack_flow(archive["flow"]).flow


def middle(field: np.ndarray) -> np.ndarray:
    return np.median(field[16:-16, 16:-16].reshape(-1, 3), axis=0)


def test_own_clip(tmp_path: Path) -> None:
    clip, out = write_frames(tmp_path / "clip"), tmp_path / "out"
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": 63.5, "cy": 47.5, "width": WIDTH, "height": HEIGHT}
    write_json(clip / "clip.json", {"fps": 10, "intrinsics": camera})
    flow(clip, "--out", out, "--ply")
    assert not stored(out, 1).any()
    np.testing.assert_allclose(middle(stored(out, 3)), [EXPECTED_X, 0, 0], atol=5e-4)
    colour = read_image(out / "colour" / "000003.png")
    np.testing.assert_allclose(middle(decode_flow(colour, 0.1)), [EXPECTED_X, 0, 0], atol=1e-3)
    with open_frames(out / "flow.mp4") as video:
        assert (video.size, len(list(video)), video.fps) == ((HEIGHT, 3 * WIDTH), 3, 10)
    record = read_json(out / "flow.json")
    assert record["flow"]["method"] == "pd-dis"
    assert record["intrinsics"]["fx"] == FOCAL
    assert record["scale_m"] == 0.1


def test_point_clouds_carry_the_motion(tmp_path: Path) -> None:
    import open3d as o3d

    flow(write_frames(tmp_path / "clip"), "--out", tmp_path / "out", "--ply", "--intrinsics", CAMERA)
    names = sorted(path.name for path in (tmp_path / "out" / "ply").iterdir())
    assert names == [
        f"00000{n}_{kind}.ply" for n in (1, 2, 3) for kind in ("cloud", "motion") if (n, kind) != (1, "motion")
    ]
    cloud = o3d.io.read_point_cloud(str(tmp_path / "out" / "ply" / "000003_cloud.ply"))
    points = np.asarray(cloud.points)
    assert len(points) == HEIGHT * WIDTH
    np.testing.assert_allclose(points[:, 2], 0.8, atol=1e-6)
    lines = o3d.io.read_line_set(str(tmp_path / "out" / "ply" / "000003_motion.ply"))
    ends = np.asarray(lines.points)[np.asarray(lines.lines)]  # (N, from and to, 3)
    np.testing.assert_allclose(np.median(ends[:, 1] - ends[:, 0], axis=0), [EXPECTED_X, 0, 0], atol=5e-4)


def test_a_frame_without_depth_has_no_cloud_and_stops_nothing(tmp_path: Path) -> None:
    clip, out = write_frames(tmp_path / "clip"), tmp_path / "out"
    path = clip / "depth" / "0002.png"
    write_image(path, np.zeros((HEIGHT, WIDTH), np.uint16))
    flow(clip, "--out", out, "--ply", "--intrinsics", CAMERA)
    assert [(out / "ply" / f"00000{n}_cloud.ply").exists() for n in (1, 2, 3)] == [True, False, True]


def test_colour_and_depth_folders_with_a_camera_file_and_other_units(tmp_path: Path) -> None:
    folder, out = write_frames(tmp_path / "room", "color", units=5000), tmp_path / "out"
    (folder / "intrinsics.yaml").write_text("fx: 200\nfy: 200\ncx: 127.5\ncy: 95.5\nwidth: 256\nheight: 192\n")
    flow(folder, "--out", out, "--depth-scale", 5000, "--coding", "abs")
    np.testing.assert_allclose(middle(stored(out, 2)), [EXPECTED_X, 0, 0], atol=5e-4)
    record = read_json(out / "flow.json")
    assert record["coding"] == "abs"
    assert record["scale_m"][0] == pytest.approx(record["largest_m"][0])
    assert middle(read_image(out / "colour" / "000002.png"))[1] > 128  # green: horizontal


@pytest.mark.parametrize("options", [("--backend", "torch"), ("--method", "pd"), ("--linear-lift",)])
def test_the_methods_and_their_options(tmp_path: Path, options: tuple[str, ...]) -> None:
    clip, out = write_frames(tmp_path / "clip"), tmp_path / "out"
    flow(clip, "--out", out, "--intrinsics", CAMERA, *options)
    np.testing.assert_allclose(middle(stored(out, 2)), [EXPECTED_X, 0, 0], atol=5e-4)
    recorded = read_json(out / "flow.json")["flow"]
    assert recorded["method"] == ("pd" if "pd" in options else "pd-dis")
    assert recorded.get("linear_lift", False) is ("--linear-lift" in options)


def test_pair_points_to_the_second_picture(tmp_path: Path) -> None:
    clip, out = write_frames(tmp_path / "clip"), tmp_path / "out"
    pair = [clip / kind / f"000{n}.png" for n in (1, 2) for kind in ("rgb", "depth")]
    flow("--pair", *pair, "--out", out, "--intrinsics", CAMERA, "--ply")
    np.testing.assert_allclose(middle(stored(out, 1)), [EXPECTED_X, 0, 0], atol=5e-4)
    assert sorted(path.name for path in out.iterdir()) == ["colour", "flow", "flow.json", "flow.png", "ply"]


def test_a_pair_is_solved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> Flow:
        calls.append(1)
        return scene_flow(*arguments, **options)

    monkeypatch.setattr(job, "scene_flow", counted)
    clip = write_frames(tmp_path / "clip")
    pair = [clip / kind / f"000{n}.png" for n in (1, 2) for kind in ("rgb", "depth")]
    flow("--pair", *pair, "--out", tmp_path / "out", "--method", "dis")
    assert len(calls) == 1


def test_prepared_file_and_pictures_without_depth(tmp_path: Path) -> None:
    data = write_toy_file(tmp_path / "toy.h5", train=1, val=1)
    flow(data, "--clip", "Subject1_cut_0000_cup", "--out", tmp_path / "a")
    assert len(list((tmp_path / "a" / "flow").iterdir())) == 4
    done = flow(write_frames(tmp_path / "clip") / "rgb", "--out", tmp_path / "b", "--method", "dis2d", "--fps", 10)
    assert "degree horizontal field of view is assumed" in done.output
    with pytest.raises(VidaffError, match="dis2d"):
        flow(tmp_path / "clip" / "rgb", "--out", tmp_path / "c")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing"], "no such"),
        ([], "SOURCE or --pair"),
        (["clip", "--method", "magic"], "method: unknown 'magic'; known: pd-dis, pd, "),
        (["clip", "--method", "pd", "--backend", "cuda"], "backend: 'cuda' is not one of auto, numba, torch"),
        (["clip", "--method", "dis2d", "--linear-lift"], "linear_lift"),
        (["clip", "--coding", "rainbow"], "unknown coding"),
        (["clip", "--scale", "clip"], "needs metres"),
        (["clip", "--coding", "abs", "--scale", "much"], "clip or frame"),
        (["clip", "--scale", "-1"], "clip or frame"),
        (["clip", "--scale", "1e-320"], "clip or frame"),
        (["clip", "--intrinsics", "1,2,3"], "fx,fy,cx,cy"),
        (["clip", "--intrinsics", "nan,1,2,3"], "finite"),
        (["clip", "--intrinsics", "nowhere.yaml"], "no such file"),
        (["clip", "--depth-scale", "1"], "millimetres"),
        (["clip/rgb", "--method", "dis2d", "--ply"], "--ply needs depth"),
        (["--pair", "a", "b", "c", "d", "--clip", "cut"], "--clip belongs to SOURCE"),
        (["--pair", "a", "b", "c", "d", "--depth", "clip/depth"], "--depth belongs to SOURCE"),
        (["--pair", "a", "b", "c", "d", "--fps", "5"], "--fps belongs to SOURCE"),
        (["--pair", "clip/rgb/0001.png", "clip/depth/0001.png", "clip/rgb/0002.png", "small.png"], "small.png"),
        (["--pair", "clip/rgb/0001.png", "clip/rgb/0001.png", "clip/rgb/0002.png", "small.png"], "16-bit"),
    ],
)
def test_bad_input_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "clip")
    write_image(tmp_path / "small.png", np.ones((5, 5), np.uint16))
    with pytest.raises(VidaffError, match=said) as caught:
        flow(*arguments, "--out", "out")
    assert "\n" not in str(caught.value)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


def test_an_output_folder_that_holds_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    clip = write_frames(tmp_path / "clip")
    with pytest.raises(VidaffError, match="already holds files"):
        flow(clip, "--out", tmp_path / "out")
    flow(clip, "--out", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "out" / "flow.json").read_text())["coding"] == "signed"
