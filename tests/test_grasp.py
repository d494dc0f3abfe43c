"""Grasp candidates: files of planners, projection, and the order that the heat map gives."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.grasp import BEHIND, OUTSIDE, Grasps, as_grasps, as_pose, rank, read_grasps, read_pose
from vidaff.grasp.draw import BEST, draw_grasps, gripper_lines, gripper_points

CAMERA = Intrinsics(100, 100, 31.5, 23.5)
SIZE = (48, 64)


def turn(axis: int, degrees: float) -> np.ndarray:
    """Rotation about a coordinate axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix, (a, b) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
    matrix[a, a] = matrix[b, b] = cosine
    matrix[a, b], matrix[b, a] = -sine, sine
    return matrix


def at_pixels(*pixels: tuple[float, float], z: float = 1.0, **columns: Any) -> Grasps:
    """Grasps whose positions are seen at these pixels."""
    x, y = np.array(pixels, float).reshape(-1, 2).T
    positions = np.stack([(x - CAMERA.cx) / CAMERA.fx * z, (y - CAMERA.cy) / CAMERA.fy * z, np.full(len(x), z)], axis=1)
    return Grasps(positions, np.tile(np.eye(3), (len(x), 1, 1)), **columns)


def slope() -> np.ndarray:
    """A map that rises from left to right."""
    return np.tile(np.arange(SIZE[1], dtype=np.float32), (SIZE[0], 1))


def test_order_follows_the_map() -> None:
    ranking = rank(slope(), at_pixels((10, 5), (60, 40), (30, 20)), CAMERA)
    assert ranking.order.tolist() == [1, 2, 0] and ranking.best == 1
    np.testing.assert_allclose(ranking.pixels, [(10, 5), (60, 40), (30, 20)])
    np.testing.assert_allclose(ranking.heat, np.array([10, 60, 30]) / 63)
    np.testing.assert_allclose(ranking.distance, 1)


def test_the_map_is_read_between_pixels_and_its_unit_does_not_matter() -> None:
    grasps = at_pixels((10.25, 5.5), (62.9, 0))
    ranking = rank(slope(), grasps, CAMERA)
    np.testing.assert_allclose(ranking.heat, np.array([10.25, 62.9]) / 63)
    np.testing.assert_allclose(rank(slope() / slope().sum(), grasps, CAMERA).heat, ranking.heat, rtol=1e-5)


def test_what_is_not_seen_comes_last_and_says_why() -> None:
    grasps = at_pixels((0, 5), (-3, 5), (40, 5), (70, 5), (20, 90))
    grasps.positions[2, 2] *= -1
    ranking = rank(slope(), grasps, CAMERA)
    assert ranking.problems == ("", OUTSIDE, BEHIND, OUTSIDE, OUTSIDE)
    assert ranking.order[0] == 0 and ranking.heat.tolist() == [0] * 5
    assert ranking.best is None
    assert np.isnan(ranking.pixels[2]).all() and ranking.distance[2] == -1
    records = json.loads(json.dumps(ranking.to_list()))
    assert [record["index"] for record in records] == [0, 1, 2, 3, 4] and records[2]["pixel"] is None


def test_the_planners_score_breaks_ties_only() -> None:
    flat = np.ones(SIZE)
    grasps = at_pixels((10, 5), (20, 5), (30, 5), scores=np.array([0.1, 0.9, 0.1]))
    assert rank(flat, grasps, CAMERA).order.tolist() == [1, 0, 2]
    assert rank(slope(), grasps, CAMERA).order.tolist() == [2, 1, 0]


def test_pose_and_reach() -> None:
    """In the frame of a base whose axes are turned; the contact lies along the approach axis."""
    camera_from_base = np.eye(4)
    camera_from_base[:3, :3], camera_from_base[:3, 3] = turn(2, 90) @ turn(0, 30), (0.1, -0.2, 0.3)
    base_from_camera = np.linalg.inv(camera_from_base)
    wanted = at_pixels((10, 5), (60, 40))
    for axis, name in enumerate("xyz"):
        shifted = Grasps(wanted.positions - 0.1 * wanted.rotations[:, :, axis], wanted.rotations)
        ranking = rank(slope(), shifted.moved(base_from_camera), CAMERA, camera_from_base, approach=name, reach=0.1)
        np.testing.assert_allclose(ranking.pixels, [(10, 5), (60, 40)], atol=1e-9)
        np.testing.assert_allclose(ranking.grasps.rotations, wanted.rotations, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 8), st.just(3)), elements=st.floats(-3, 3)), st.integers(0, 99))
def test_any_points_are_ranked(positions: np.ndarray, seed: int) -> None:
    heat = np.random.default_rng(seed).random(SIZE)
    ranking = rank(heat, Grasps(positions, np.tile(np.eye(3), (len(positions), 1, 1))), CAMERA)
    assert sorted(ranking.order.tolist()) == list(range(len(positions)))
    assert (np.diff(ranking.heat[ranking.order]) <= 0).all() and ranking.heat.max(initial=0) <= 1
    unseen = [bool(ranking.problems[index]) for index in ranking.order]
    assert unseen == sorted(unseen)


def graspnet_rows() -> np.ndarray:
    rows = np.zeros((2, 17))
    rows[:, 0], rows[:, 1] = (0.4, 0.7), (0.05, 0.1)
    rows[:, 4:13] = turn(0, 20).ravel()
    rows[:, 13:16] = [(0, 0, 1), (0.1, 0, 1)]
    return rows


def test_arrays_of_planners() -> None:
    read = as_grasps(graspnet_rows())
    np.testing.assert_allclose(read.rotations, np.tile(turn(0, 20), (2, 1, 1)))
    np.testing.assert_allclose(read.positions, [(0, 0, 1), (0.1, 0, 1)])
    assert read.scores.tolist() == [0.4, 0.7] and read.widths.tolist() == [0.05, 0.1]
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = read.rotations, read.positions
    for array in (poses, poses[:, :3], poses.astype(np.float32)):
        np.testing.assert_allclose(as_grasps(array).positions, read.positions, atol=1e-6)
    assert len(as_grasps(poses[0])) == 1 and len(as_grasps(np.zeros((0, 17)))) == 0


def test_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", graspnet_rows())
    records = [
        {
            "position": row[13:16].tolist(),
            "rotation": row[4:13].reshape(3, 3).tolist(),
            "score": row[0],
            "width": row[1],
        }
        for row in graspnet_rows()
    ]
    (tmp_path / "a.json").write_text(json.dumps({"planner": "any", "grasps": records}))
    (tmp_path / "b.json").write_text(json.dumps([{"pose": np.eye(4).tolist(), "name": "x"}]))
    for name in ("a.npy", "a.json"):
        read, expected = read_grasps(tmp_path / name), as_grasps(graspnet_rows())
        for field in ("positions", "rotations", "scores", "widths"):
            np.testing.assert_allclose(getattr(read, field), getattr(expected, field))
    assert read_grasps(tmp_path / "b.json").scores is None
    np.save(tmp_path / "pose.npy", np.eye(4)[:3])
    (tmp_path / "pose.json").write_text(json.dumps(np.eye(4).tolist()))
    assert (read_pose(tmp_path / "pose.npy") == np.eye(4)).all() and (
        read_pose(tmp_path / "pose.json") == np.eye(4)
    ).all()


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_hostile_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([RunsCode(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(VidaffError, match=r"bad\.npy: not readable as a plain NumPy array"):
        read_grasps(tmp_path / "bad.npy")
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "huge.npy", np.zeros((1, 17)))
    promises = (tmp_path / "huge.npy").read_bytes().replace(b"(1, 17), }" + b" " * 8, b"(999999999, 17), }")
    assert b"999999999" in promises
    for content in (promises, b"", b"\x93NUMPY", os.urandom(200)):
        (tmp_path / "huge.npy").write_bytes(content)
        with pytest.raises(VidaffError, match=r"huge\.npy"):
            read_grasps(tmp_path / "huge.npy")


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["grasps", "position", "rotation", "pose", "score"]), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_any_json_is_grasps_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content))
    try:
        assert isinstance(read_grasps(path), Grasps)
    except VidaffError as error:
        assert "a.json" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((2, 5)), "rows of GraspNet"),
        (np.full((2, 17), np.nan), "not finite"),
        (np.zeros((2, 17)), "no rotation matrix"),
        (np.tile(-np.eye(4), (1, 1, 1)), "last row"),
        (np.array(["a"]), "must be numbers"),
        (np.diag([1, 1, -1.0, 1])[None], "number 1 is no rotation"),
        ([[1], [1, 2]], "different lengths"),
    ],
    ids=str,
)
def test_arrays_that_are_no_grasps(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_grasps(value)


def test_millimetres_are_noticed() -> None:
    with pytest.raises(ValueError, match="not millimetres"):
        Grasps(np.full((1, 3), 2000.0), np.eye(3)[None])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heatmap": np.zeros((3, 4, 5))}, "heatmap"),
        ({"heatmap": -slope()}, "heatmap"),
        ({"heatmap": slope() * np.nan}, "heatmap"),
        ({"intrinsics": np.eye(2)}, "intrinsics"),
        ({"intrinsics": "camera"}, "intrinsics"),
        ({"intrinsics": (0, 1, 2, 3)}, "intrinsics.fx"),
        ({"pose": np.zeros((4, 4))}, "pose"),
        ({"approach": "w"}, "approach"),
        ({"reach": np.inf}, "reach"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(change: dict[str, Any], said: str) -> None:
    arguments = {"heatmap": slope(), "grasps": at_pixels((10, 5)), "intrinsics": CAMERA, **change}
    with pytest.raises(ValueError, match=said):
        rank(**arguments)


def test_cameras_in_three_forms() -> None:
    matrix = np.array([[100, 0, 31.5], [0, 100, 23.5], [0, 0, 1]])
    for camera in (CAMERA, matrix, (100, 100, 31.5, 23.5)):
        np.testing.assert_allclose(rank(slope(), at_pixels((10, 5)), camera).pixels, [(10, 5)])
    assert as_pose(np.eye(4)[:3]).shape == (4, 4)


def test_grippers_close_on_the_contact() -> None:
    ranking = rank(slope(), at_pixels((30, 20), widths=np.array([0.06])), CAMERA, reach=0.1)
    lines = gripper_lines(ranking, 0, reach=0.1)
    tips = lines[2:, 1]
    np.testing.assert_allclose(tips.mean(axis=0), ranking.grasps.positions[0] + (0.1, 0, 0))
    assert np.linalg.norm(tips[0] - tips[1]) == pytest.approx(0.06)
    points, colours, heat = gripper_points(ranking, reach=0.1)
    assert points.shape == colours.shape and len(heat) == len(points) > 50
    assert np.abs(points - ranking.grasps.positions[0]).max() < 0.2


def test_the_best_grasp_is_drawn_green_and_the_picture_is_left_alone() -> None:
    black = np.zeros((*SIZE, 3), np.uint8)
    ranking = rank(slope(), at_pixels((10, 20), (50, 20)), CAMERA)
    canvas = draw_grasps(black, ranking, CAMERA)
    green = (canvas == np.array(BEST)).all(axis=-1)
    assert green[:, 32:].sum() > 5 and not green[:, :20].any()
    assert canvas[:, :20].any() and not black.any()
    unseen = rank(slope(), at_pixels((200, 20)), CAMERA)
    assert not draw_grasps(black, unseen, CAMERA).any() and not len(gripper_points(unseen)[0])
