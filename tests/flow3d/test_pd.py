"""PD-Flow and pd-dis through their methods and backends, on scenes whose motion is known."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from vidaff.flow3d import Flow, Intrinsics, SceneFlow, scene_flow
from vidaff.flow3d.analytic import Pair, make_clip, make_pair
from vidaff.flow3d.api import make_method
from vidaff.flow3d.lift import lift, sample_depth
from vidaff.flow3d.pd.levels import SORT_NINE
from vidaff.flow3d.pd.method import OURS, make_solver
from vidaff.flow3d.pd.numba_solver import NumbaSolver, pyramid
from vidaff.flow3d.pd.schedule import Schedule, Stage, authors

SMALL = (120, 160)


def grey_of(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    first, second = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (pair.rgb0, pair.rgb1))
    return first, second


def flow_of(pair: Pair, method: str, **options: Any) -> Flow:
    return scene_flow(pair.rgb0, pair.depth0, pair.rgb1, pair.depth1, pair.intrinsics, method=method, **options)


def error_mm(flow: np.ndarray, pair: Pair, where: np.ndarray) -> float:
    return float(np.linalg.norm(flow - pair.flow, axis=-1)[where & pair.valid].mean() * 1000)


def solutions(pair: Pair, schedule: Schedule, start: np.ndarray | None = None) -> list[np.ndarray]:
    """(3, H, W) of both backends: pixels, pixels, metres."""
    levels = schedule.stages[0].level + 1
    results = []
    for backend in ("numba", "torch"):
        solver = make_solver(backend, pair.intrinsics, schedule, threads=2)
        old, new = (
            solver.frame(pyramid(grey.astype(np.float32), depth, levels, threads=1))
            for grey, depth in zip(grey_of(pair), (pair.depth0, pair.depth1), strict=True)
        )
        results += solver.solve_all([old], [new], None if start is None else [start], None)
    return results


@pytest.mark.parametrize("scene", ["hand", "mid", "camera"])
def test_backends_agree_on_clean_scenes_with_the_authors_schedule(scene: str) -> None:
    numba, torch = solutions(make_pair(scene, noise=False), authors(240))
    assert np.abs(numba[:2] - torch[:2]).max() < 1e-3
    assert np.abs(numba[2] - torch[2]).max() < 1e-4


def test_backends_agree_nearly_everywhere_on_noisy_scenes() -> None:
    # Holes make the nearest-pixel rule of the warp a step: a rounding error decides, so not every pixel can agree.
    numba, torch = solutions(make_pair("mid"), authors(240))
    assert np.quantile(np.abs(numba[:2] - torch[:2]), 0.998) < 1e-3
    assert np.quantile(np.abs(numba[2] - torch[2]), 0.998) < 1e-4


@pytest.mark.parametrize("scene", ["hand", "fast", "camera"])
@pytest.mark.parametrize("noise", [False, True])
def test_backends_agree_on_the_default_method(scene: str, noise: bool) -> None:
    pair = make_pair(scene, noise=noise)
    numba, torch = (flow_of(pair, "pd-dis", backend=backend) for backend in ("numba", "torch"))
    np.testing.assert_array_equal(numba.valid, torch.valid)
    assert np.abs(numba.flow - torch.flow).max() < 1e-4


def test_backends_agree_with_masks_warps_and_a_start() -> None:
    pair = make_pair("hand", size=SMALL, noise=False)
    start = np.stack([pair.motion[..., 0], pair.motion[..., 1], pair.flow[..., 2]]).astype(np.float32)
    stages = (Stage(1, 8, warps=2), Stage(0, 6, warps=2, median=False))
    numba, torch = solutions(pair, Schedule(stages, masked=True, keep_duals=False), start)
    assert np.quantile(np.abs(numba[:2] - torch[:2]), 0.999) < 1e-3
    assert np.quantile(np.abs(numba[2] - torch[2]), 0.999) < 1e-4


def test_threads_do_not_change_a_bit() -> None:
    pair = make_pair("mid", size=(124, 100))
    schedule = Schedule((Stage(1, 37), Stage(0, 45, warps=2)))
    results = []
    for threads in (1, 2, 3):
        solver = NumbaSolver(pair.intrinsics, schedule, threads=threads)
        frames = [
            solver.frame(pyramid(grey.astype(np.float32), depth, 2, threads=threads))
            for grey, depth in zip(grey_of(pair), (pair.depth0, pair.depth1), strict=True)
        ]
        results.append(solver.solve(*frames))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def plain_dis(pair: Pair) -> np.ndarray:
    motion = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey_of(pair), None)
    sampled = sample_depth(pair.depth1, motion, jump_m=np.inf)
    valid = (sampled > 0) & (pair.depth0 > 0)
    return lift(motion, pair.depth0, np.where(valid, sampled - pair.depth0, np.float32(0)), valid, pair.intrinsics).flow


@pytest.mark.parametrize(("scene", "explained"), [("hand", 0.92), ("mid", 0.92), ("fast", 0.6)])
def test_default_method_finds_small_and_large_motions(scene: str, explained: float) -> None:
    pairs = [make_pair(scene, seed=seed) for seed in (0, 1)]
    for pair in pairs:
        flow = flow_of(pair, "pd-dis").flow
        visible = pair.moving & ~pair.hidden
        assert error_mm(flow, pair, visible) < (1 - explained) * error_mm(np.zeros_like(flow), pair, visible)
    total = sum(error_mm(flow_of(pair, "pd-dis").flow, pair, pair.valid) for pair in pairs)
    assert 3 * total < sum(error_mm(plain_dis(pair), pair, pair.valid) for pair in pairs)


def test_hidden_pixels_move_with_their_surface() -> None:
    pair = make_pair("fast", noise=False)
    behind = pair.hidden & ~pair.moving & pair.valid
    assert behind.sum() > 500
    flow = flow_of(pair, "pd-dis").flow
    assert np.median(np.linalg.norm(flow[behind], axis=-1)) < 0.002
    assert error_mm(flow, pair, behind) < 0.2 * error_mm(plain_dis(pair), pair, behind)


def test_authors_schedule_loses_what_the_default_finds() -> None:
    pair = make_pair("fast")
    lost, found = (
        error_mm(flow_of(pair, method).flow, pair, pair.moving & ~pair.hidden) for method in ("pd", "pd-dis")
    )
    assert lost > 50
    assert found < 15


@pytest.mark.parametrize("size", [(61, 97), (33, 200), (240, 320)])
def test_any_size_and_a_camera_off_centre(size: tuple[int, int]) -> None:
    pair = make_pair("ball", size=size, noise=False)
    moved = pair.moving & ~pair.hidden
    # A picture of 33 rows has two levels: too few for the authors' schedule to reach far.
    for method, left in (("pd", 0.9), ("pd-dis", 0.4)):
        flow, valid = flow_of(pair, method)
        assert flow.shape == (*size, 3)
        np.testing.assert_array_equal(valid[pair.depth0 == 0], False)
        assert error_mm(flow, pair, moved) < left * error_mm(np.zeros_like(flow), pair, moved)
    cut = np.s_[size[0] // 5 :, size[1] // 5 :]
    camera = pair.intrinsics.cropped(size[1] // 5, size[0] // 5)
    cropped = scene_flow(pair.rgb0[cut], pair.depth0[cut], pair.rgb1[cut], pair.depth1[cut], camera)
    where = (moved & pair.valid)[cut]
    assert np.linalg.norm(cropped.flow - pair.flow[cut], axis=-1)[where].mean() < 0.005


def test_linear_lift_lacks_the_product_of_motion_and_depth_motion() -> None:
    pair = make_pair("ball", size=SMALL, noise=False)
    exact, linear = (flow_of(pair, "pd-dis", linear_lift=linear) for linear in (False, True))
    k, depth1 = pair.intrinsics, pair.depth0 + exact.flow[..., 2]
    columns = (np.arange(SMALL[1]) - k.cx) / k.fx
    # u Z1 / fx = dX - ray w
    u_over_f = (exact.flow[..., 0] - columns * exact.flow[..., 2]) / np.where(depth1 > 0, depth1, 1)
    expected = np.where(exact.valid, u_over_f * exact.flow[..., 2], 0)
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(exact.flow[..., 0] - linear.flow[..., 0], expected, atol=2e-6)


@pytest.mark.parametrize("method", ["none", "dis2d"])
def test_linear_lift_needs_a_method_that_lifts(method: str) -> None:
    with pytest.raises(ValueError, match="linear_lift"):
        SceneFlow(Intrinsics(1, 1, 0, 0), method, linear_lift=True)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_batch_equals_its_pairs(backend: str) -> None:
    pairs = [make_pair("hand", size=SMALL, seed=seed) for seed in (0, 1)]
    for name in ("pd", "pd-dis"):
        method: Any = make_method(name, pairs[0].intrinsics, backend)
        frames = [tuple(map(method.prepare, grey_of(pair), (pair.depth0, pair.depth1))) for pair in pairs]
        together = method.between_batch([first for first, _ in frames], [second for _, second in frames])
        for each, (first, second) in zip(together, frames, strict=True):
            np.testing.assert_allclose(each.flow, method.between(first, second).flow, atol=1e-6)


def test_a_stream_gives_what_pairs_give() -> None:
    clip = make_clip("hand", frames=3, size=SMALL)
    stream = SceneFlow(clip.intrinsics)
    frames = list(zip(clip.rgb, clip.depth, strict=True))
    for index, (rgb, depth) in enumerate(frames):
        flow, valid = stream.step(rgb, depth)
        if index:
            pair = scene_flow(rgb, depth, *frames[index - 1], clip.intrinsics)
            np.testing.assert_array_equal(flow, -pair.flow)
            np.testing.assert_array_equal(valid, pair.valid)
        else:
            assert not flow.any()


def test_settings_tell_the_numbers() -> None:
    camera = Intrinsics(300, 300, 80, 60)
    ours, theirs = (SceneFlow(camera, name).settings() for name in ("pd-dis", "pd"))
    assert [stage["iterations"] for stage in theirs["schedule"]["stages"]] == [40, 55, 70, 85, 100]
    assert ours["schedule"]["stages"][0]["warps"] == OURS.stages[0].warps
    assert json.loads(json.dumps(ours))["start"]["search_reach"] == 14
    assert "linear_lift" not in ours
    assert SceneFlow(camera, "pd", linear_lift=True).settings()["linear_lift"] is True


def test_the_sorting_network_sorts() -> None:
    # A network that sorts all sequences of zeros and ones sorts everything.
    for values in itertools.product((0, 1), repeat=9):
        row = list(values)
        for a, b in SORT_NINE.tolist():
            row[a], row[b] = min(row[a], row[b]), max(row[a], row[b])
        assert row == sorted(values)


def test_denormal_numbers_survive_outside_the_solver() -> None:
    flow_of(make_pair("ball", size=SMALL), "pd")
    assert np.float32(1e-40) * np.float32(1) != 0


@pytest.mark.slow
def test_first_call_says_that_it_compiles(tmp_path: Any) -> None:
    code = (
        "import numpy as np; from vidaff.flow3d import *;"
        "z = np.zeros((40, 50), np.uint8); d = np.ones((40, 50), np.float32);"
        "print(scene_flow(z, d, z, d, Intrinsics(50, 50, 25, 20)).valid.mean())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "compiling" in said[0].stderr
    assert "compiling" not in said[1].stderr
    assert [run.stdout.strip() for run in said] == ["1.0", "1.0"]
