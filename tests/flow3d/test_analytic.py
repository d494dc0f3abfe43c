"""The analytic scenes: their truth agrees with what the frames show, and their noise is the one they state."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.flow3d import SceneFlow
from vidaff.flow3d.analytic import SCENES, Ball, Body, Box, Motion, Pair, Plane, make_clip, make_pair
from vidaff.flow3d.analytic.scene import Shape, pose
from vidaff.flow3d.analytic.scenes import texture
from vidaff.flow3d.lift import lift, pixel_grid

SMALL = (120, 160)


def arrays(pair: Pair) -> list[np.ndarray]:
    return [value for value in pair if isinstance(value, np.ndarray)]


def mean_length(vectors: np.ndarray, where: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1)[where].mean())


@pytest.mark.parametrize(
    ("scene", "pixels", "metres"),
    [("slow", 3.0, 0.009), ("hand", 9.0, 0.027), ("mid", 18.0, 0.047), ("fast", 43.6, 0.114), ("camera", 6.5, 0.025)],
)
def test_scenes_move_as_their_docstring_says(scene: str, pixels: float, metres: float) -> None:
    pairs = [make_pair(scene, size=SMALL, seed=seed) for seed in range(8)]
    shown = [pair.moving & pair.valid for pair in pairs]
    motion = np.mean([mean_length(pair.motion, where) for pair, where in zip(pairs, shown, strict=True)])
    flow = np.mean([mean_length(pair.flow, where) for pair, where in zip(pairs, shown, strict=True)])
    assert 2 * motion == pytest.approx(pixels, rel=0.05)
    assert flow == pytest.approx(metres, rel=0.05)


@pytest.mark.parametrize("scene", sorted(SCENES))
def test_frame_1_shows_what_the_truth_says(scene: str) -> None:
    pair = make_pair(scene, size=SMALL, noise=False)
    where = pixel_grid(*SMALL) + pair.motion
    grey, depth = (
        cv2.remap(image, where, None, cv2.INTER_LINEAR) for image in (pair.rgb1[..., 0].astype(np.float32), pair.depth1)
    )
    seen = ~pair.hidden
    assert np.median(np.abs(grey - pair.rgb0[..., 0])[seen]) < 1.5
    error = np.abs(depth - (pair.depth0 + pair.flow[..., 2]))
    assert np.median(error[seen]) < 2e-4
    assert (error[seen] < 0.005).mean() > 0.95
    inside = pair.hidden & (where > 0).all(-1) & (where < np.array(SMALL[::-1]) - 1).all(-1)
    # What covers a hidden point is nearer; at rims the bilinear sample mixes both.
    assert not inside.any() or (depth - (pair.depth0 + pair.flow[..., 2]))[inside].mean() < -0.01


@pytest.mark.parametrize("scene", ["hand", "camera"])
def test_motion_in_pixels_lifts_to_the_motion_in_metres(scene: str) -> None:
    pair = make_pair(scene, size=SMALL, noise=False)
    lifted = lift(pair.motion, pair.depth0, pair.flow[..., 2], pair.valid, pair.intrinsics)
    np.testing.assert_allclose(lifted.flow, pair.flow, atol=2e-6)


def test_hidden_is_the_strip_that_the_ball_moves_over() -> None:
    wall = Body(Plane(), texture(np.random.default_rng(0), 128), pose((0, 0, 1.5), (np.pi, 0, 0)))
    ball = Body(Ball((0.1, 0.1, 0.1)), wall.texture, pose((0, 0, 0.8)), (Motion((0.05, 0, 0)),))
    pair = make_pair((wall, ball), size=SMALL, noise=False)
    np.testing.assert_allclose(pair.flow[pair.moving], np.broadcast_to([0.05, 0, 0], (pair.moving.sum(), 3)), atol=1e-7)
    assert not (pair.hidden & pair.moving).any()
    assert not pair.hidden[:, :80].any()
    assert pair.hidden[60].sum() == pytest.approx(0.05 / 0.8 * pair.intrinsics.fx, abs=2)


def test_body_keeps_its_form_while_it_turns() -> None:
    pair = make_pair("hand", size=SMALL, noise=False, seed=2)
    k, (rows, columns) = pair.intrinsics, np.indices(SMALL)
    z = pair.depth0
    start = np.stack([(columns - k.cx) / k.fx * z, (rows - k.cy) / k.fy * z, z], axis=-1)
    # Away from the fingers, which bend: the arm below the wrist is one rigid body.
    arm = pair.moving & (rows > 80)
    assert arm.sum() > 100
    first, last = start[arm], (start + pair.flow)[arm]
    assert np.linalg.norm(pair.flow[arm][0] - pair.flow[arm][-1]) > 0.002
    gaps = [np.linalg.norm(points - points[0], axis=1) for points in (first, last)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-5)


def test_still_scene_is_still_and_a_moving_camera_moves_everything() -> None:
    still = make_pair("still", size=SMALL, noise=False)
    np.testing.assert_array_equal(still.rgb0, still.rgb1)
    np.testing.assert_array_equal(still.depth0, still.depth1)
    assert not (still.moving.any() or still.flow.any() or still.motion.any() or still.hidden.any())
    camera = make_pair("camera", size=SMALL)
    assert camera.moving.all()
    assert camera.hidden.any()


def test_seeds_decide_everything_and_noise_leaves_the_scene_alone() -> None:
    first, again, other = (make_pair("hand", size=SMALL, seed=seed) for seed in (3, 3, 4))
    for left, right in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (first.moving != other.moving).any()
    assert np.abs(first.rgb0.astype(int) - other.rgb0).mean() > 5
    clean = make_pair("hand", size=SMALL, seed=3, noise=False)
    np.testing.assert_array_equal(clean.flow, first.flow)
    assert clean.valid.all()


def test_noise_is_that_of_a_depth_camera() -> None:
    noisy, clean = (make_pair("ball", size=(240, 320), noise=noise) for noise in (True, False))
    grey = (noisy.rgb0.astype(float) - clean.rgb0)[..., 0]
    assert grey.std() == pytest.approx(2.5, rel=0.05)
    steps = noisy.depth0.astype(np.float64) * 1000
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    spread = cv2.dilate(clean.depth0, np.ones((3, 3))) - cv2.erode(clean.depth0, np.ones((3, 3)))
    flat, rim = spread < 0.03, spread > 0.1
    assert 1 - noisy.valid[flat].mean() == pytest.approx(0.005, abs=0.001)
    assert 1 - noisy.valid[rim].mean() == pytest.approx(0.7, abs=0.05)
    z = clean.depth0[noisy.valid]
    scaled = (noisy.depth0[noisy.valid] - z) / np.hypot(0.0012 + 0.0019 * (z - 0.4) ** 2, 0.001 / np.sqrt(12))
    assert scaled.std() == pytest.approx(1, rel=0.03)


def test_clip_follows_the_convention_of_the_stream() -> None:
    clip = make_clip("hand", frames=4, size=(180, 240), seed=1)
    assert clip.rgb.shape == (4, 180, 240, 3)
    assert not (clip.flow[0].any() or clip.moving[0].any())
    stream = SceneFlow(clip.intrinsics)
    for rgb, depth, truth, moving, valid in zip(clip.rgb, clip.depth, clip.flow, clip.moving, clip.valid, strict=True):
        flow, _ = stream.step(rgb, depth)
        if moving.any():
            seen = moving & valid
            assert mean_length(flow - truth, seen) < 0.4 * mean_length(truth, seen)


def test_clip_of_two_is_the_pair_seen_from_frame_1() -> None:
    pair, clip = (make("mid", size=SMALL, noise=False, seed=5) for make in (make_pair, make_two))
    np.testing.assert_array_equal(clip.rgb, np.stack([pair.rgb0, pair.rgb1]))
    assert np.median(clip.flow[1][clip.moving[1]], axis=0) == pytest.approx(
        np.median(pair.flow[pair.moving], axis=0), abs=0.004
    )


def make_two(scene: str, **options: object) -> object:
    return make_clip(scene, frames=2, **options)  # type: ignore[arg-type]


def test_other_sizes_scale_the_camera() -> None:
    for size in ((60, 80), (480, 640), (40, 40)):
        pair = make_pair("ball", size=size, noise=False)
        assert pair.depth0.shape == size
        assert pair.intrinsics.fx == pytest.approx(263.7 * size[1] / 320)
    large, small = (make_pair("hand", size=size, noise=False) for size in ((240, 320), (120, 160)))
    assert mean_length(large.motion, large.moving) == pytest.approx(
        2 * mean_length(small.motion, small.moving), rel=0.02
    )


def test_a_pair_takes_less_than_half_a_second_of_one_core() -> None:
    times = []
    for _ in range(2):
        started = time.process_time()
        make_pair("fast")
        times.append(time.process_time() - started)
    assert min(times) < 0.5


@settings(max_examples=50, deadline=None)
@given(
    shape=st.sampled_from([Ball((0.1, 0.1, 0.1)), Ball((0.05, 0.2, 0.1)), Box((0.1, 0.05, 0.2)), Plane()]),
    seed=st.integers(0, 2**32 - 1),
)
def test_rays_hit_the_surface_at_its_nearest_point(shape: Shape, seed: int) -> None:
    rng = np.random.default_rng(seed)
    origin = rng.normal(size=3)
    origin *= rng.uniform(0.5, 2) / np.linalg.norm(origin)
    rays = rng.normal(scale=0.1, size=(200, 3)) - origin
    t = shape.hit(origin, rays)

    def outside(at: np.ndarray) -> np.ndarray:
        if isinstance(shape, Plane):
            return at[..., 2] * np.sign(origin[2])
        if isinstance(shape, Ball):
            return np.linalg.norm(at / shape.radii, axis=-1) - 1
        assert isinstance(shape, Box)
        return (np.abs(at) / shape.half).max(axis=-1) - 1

    hit = np.isfinite(t)
    assert np.abs(outside(origin + t[hit, None] * rays[hit])).max(initial=0) < 1e-9
    way = np.linspace(0, 3, 400)[:, None, None]
    before = np.where(way[..., 0] < t, outside(origin + way * rays), 1)
    assert before.min() > -1e-9


@pytest.mark.parametrize(
    ("options", "named"),
    [({"scene": "moon"}, "scene"), ({"scene": ()}, "scene"), ({"size": (0, 5)}, "size"), ({"size": (4,)}, "size")],
)
def test_bad_input_is_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_pair(**{"scene": "hand", "size": (8, 8), **options})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frames"):
        make_clip("hand", frames=0)
