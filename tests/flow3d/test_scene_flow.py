"""Scene flow: what it measures on scenes with known motion, and that it never breaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow3d.scenes import ball_pair
from vidaff.flow3d import METHODS, Flow, Intrinsics, SceneFlow, scene_flow
from vidaff.flow3d.analytic import Pair

CAMERA = Intrinsics(60, 60, 20, 15)


def errors_mm(result: Flow, pair: Pair) -> np.ndarray:
    return np.linalg.norm(result.flow - pair.flow, axis=-1) * 1000


LIFTED = pytest.mark.parametrize("method", ["dis", "dis-still", "pd", "pd-dis"])


def flow_of(pair: Pair, method: str = "pd-dis") -> Flow:
    return scene_flow(pair.rgb0, pair.depth0, pair.rgb1, pair.depth1, pair.intrinsics, method=method)


@pytest.fixture(scope="module")
def noisy() -> Pair:
    return ball_pair(240, 320)


@LIFTED
def test_dis_explains_most_of_a_noisy_motion(noisy: Pair, method: str) -> None:
    result = flow_of(noisy, method)
    seen = noisy.moving & (noisy.depth0 > 0)
    still = np.linalg.norm(noisy.flow, axis=-1)[seen].mean() * 1000
    assert errors_mm(result, noisy)[seen].mean() < 0.15 * still
    assert errors_mm(result, noisy)[noisy.depth0 > 0].mean() < 2.0
    assert result.valid[seen].mean() > 0.9


@LIFTED
def test_exact_lift_of_a_motion_along_the_axis(method: str) -> None:
    pair = ball_pair(240, 320, move=(0.0, 0.0, -0.03), noise=False)
    result = flow_of(pair, method)
    inner = pair.moving & result.valid
    assert np.median(errors_mm(result, pair)[inner]) < 1.0
    assert result.flow[inner][:, 2].mean() == pytest.approx(-0.03, abs=0.003)


@LIFTED
def test_hidden_background_is_not_taken_for_motion(method: str) -> None:
    pair = ball_pair(240, 320, move=(0.04, 0.0, 0.0), noise=False)
    result = flow_of(pair, method)
    wall = ~pair.moving & result.valid
    assert (np.abs(result.flow[wall][:, 2]) > 0.1).mean() < 0.002


@pytest.mark.parametrize("contrast", [0.0, 0.1])
def test_motion_does_not_spread_over_a_plain_wall(contrast: float) -> None:
    pair = ball_pair(128, 128, move=(0.02, 0.01, 0.0), wall_contrast=contrast)
    result = flow_of(pair, "dis-still")
    wall = ~pair.moving & (pair.depth0 > 0)
    assert errors_mm(result, pair)[wall].mean() < 2
    assert (errors_mm(result, pair)[wall] > 10).mean() < 0.05
    assert np.median(errors_mm(result, pair)[pair.moving & result.valid]) < 4


def test_a_still_scene_is_exactly_still() -> None:
    pair = ball_pair(move=(0.0, 0.0, 0.0))
    result = flow_of(pair, "dis-still")
    assert (errors_mm(result, pair) > 0).mean() < 0.01
    assert result.valid[pair.depth0 > 0].mean() > 0.99


@pytest.mark.parametrize("method", ["dis", "dis-still", "pd-dis"])
@pytest.mark.parametrize("speed", [-0.08, 0.08])
def test_fast_motion_in_depth_is_not_taken_for_another_surface(speed: float, method: str) -> None:
    pair = ball_pair(240, 320, move=(0.0, 0.0, speed))
    result = flow_of(pair, method)
    seen = pair.moving & (pair.depth0 > 0)
    assert result.valid[seen].mean() > 0.9
    assert np.median(errors_mm(result, pair)[seen]) < 5


def test_a_camera_that_moves_over_a_slanted_surface_keeps_its_flow() -> None:
    pair = ball_pair(240, 320)
    nearer = pair.depth0 - np.where(pair.depth0 > 0, 0.1, 0).astype(np.float32)
    result = scene_flow(pair.rgb0, pair.depth0, pair.rgb0, nearer, pair.intrinsics)
    assert result.valid[pair.depth0 > 0].mean() > 0.98
    assert np.median(result.flow[result.valid][:, 2]) == pytest.approx(-0.1, abs=0.002)


def test_stream_describes_the_current_frame() -> None:
    pair = ball_pair()
    stream = SceneFlow(pair.intrinsics)
    first = stream.step(pair.rgb0, pair.depth0)
    assert not first.flow.any()
    np.testing.assert_array_equal(first.valid, pair.depth0 > 0)
    second = stream.step(pair.rgb1, pair.depth1)
    back = scene_flow(pair.rgb1, pair.depth1, pair.rgb0, pair.depth0, pair.intrinsics)
    np.testing.assert_array_equal(second.flow, -back.flow)
    np.testing.assert_array_equal(second.valid, back.valid)
    assert np.median(second.flow[(pair.depth1 > 0) & (np.abs(second.flow).sum(-1) > 0.01)], axis=0)[0] > 0.01


def test_reset_starts_a_new_clip_of_another_size() -> None:
    stream = SceneFlow(CAMERA)
    stream.step(np.zeros((30, 40, 3), np.uint8), np.ones((30, 40)))
    with pytest.raises(ValueError, match="rgb: the stream began"):
        stream.step(np.zeros((20, 40, 3), np.uint8), np.ones((20, 40)))
    stream.reset()
    assert not stream.step(np.zeros((20, 40, 3), np.uint8), np.ones((20, 40))).flow.any()


def test_a_refused_frame_leaves_the_stream_as_it_was() -> None:
    pair = ball_pair()
    stream, other = SceneFlow(pair.intrinsics), SceneFlow(pair.intrinsics)
    for each in (stream, other):
        each.step(pair.rgb0, pair.depth0)
    with pytest.raises(ValueError, match="depth_m"):
        stream.step(pair.rgb1, pair.depth1[:-1])
    np.testing.assert_array_equal(stream.step(pair.rgb1, pair.depth1).flow, other.step(pair.rgb1, pair.depth1).flow)


def test_dis2d_is_image_motion_over_focal_length() -> None:
    pair = ball_pair(noise=False, move=(0.02, 0.0, 0.0))
    flow, valid = scene_flow(pair.rgb0, None, pair.rgb1, None, pair.intrinsics, method="dis2d")
    assert valid.all()
    assert not flow[..., 2].any()
    # The ball's front is at 0.61 m: 2 cm there look like 3.3 cm at 1 m.
    assert flow[pair.moving][:, 0].max() == pytest.approx(0.02 / 0.61, rel=0.15)


def test_none_is_zero_and_valid_where_depth_is() -> None:
    pair = ball_pair()
    flow, valid = flow_of(pair, "none")
    assert not flow.any()
    np.testing.assert_array_equal(valid, pair.depth0 > 0)


def test_integer_depth_equals_metres(noisy: Pair) -> None:
    millimetres = [np.rint(depth * 1000).astype(np.uint16) for depth in (noisy.depth0, noisy.depth1)]
    scaled = scene_flow(noisy.rgb0, millimetres[0], noisy.rgb1, millimetres[1], noisy.intrinsics, depth_scale=1000)
    np.testing.assert_allclose(scaled.flow, flow_of(noisy).flow, atol=1e-5)


def test_arguments_stay_untouched_and_may_be_read_only_or_strided() -> None:
    pair = ball_pair()
    wide = [np.repeat(array, 2, axis=1) for array in (pair.rgb0, pair.depth0, pair.rgb1, pair.depth1)]
    strided = [array[:, ::2] for array in wide]
    for array in strided:
        array.flags.writeable = False
    result = scene_flow(*strided, pair.intrinsics)
    np.testing.assert_array_equal(result.flow, flow_of(pair).flow)
    np.testing.assert_array_equal(wide[1][:, ::2], pair.depth0)


def test_settings_name_the_method_and_its_numbers() -> None:
    assert SceneFlow(CAMERA, "none").settings() == {"method": "none"}
    settings_ = SceneFlow(CAMERA, "dis").settings()
    assert settings_["method"] == "dis"
    assert settings_["dis"]["patch_size"] == 8
    assert settings_["clean"]["switch_m"] == 0.05
    assert SceneFlow(CAMERA, "dis-still").settings()["verdict"]["window"] == 7
    assert settings_["max_motion_m"] == 0.5


def good() -> dict[str, object]:
    rgb, depth = np.zeros((30, 40, 3), np.uint8), np.ones((30, 40), np.float32)
    return {"rgb0": rgb, "depth0": depth, "rgb1": rgb, "depth1": depth, "intrinsics": CAMERA}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rgb0": np.zeros((30, 40, 4), np.uint8)}, "rgb0"),
        ({"rgb0": np.zeros((30, 40, 3), np.float32)}, "rgb0"),
        ({"rgb0": np.zeros((0, 40, 3), np.uint8)}, "rgb0"),
        ({"rgb1": np.zeros((31, 40, 3), np.uint8)}, "rgb1"),
        ({"depth0": None}, "depth0"),
        ({"depth1": None}, "depth1"),
        ({"depth0": np.ones((31, 40), np.float32)}, "depth0"),
        ({"depth1": np.ones((30, 40, 1), np.float32)}, "depth1"),
        ({"depth1": np.full((30, 40), 800.0)}, "depth1.*millimetres"),
        ({"depth0": np.full((30, 40), 800, np.uint16)}, "depth0.*depth_scale"),
        ({"depth0": np.ones((30, 40), complex)}, "depth0"),
        ({"depth_scale": 0.0}, "depth_scale"),
        ({"depth_scale": float("nan")}, "depth_scale"),
        ({"intrinsics": (60, 60, 20, 15)}, "intrinsics"),
        ({"method": "magic"}, "method"),
        ({"backend": "abacus"}, "backend"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        scene_flow(**{**good(), **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -3.0, "wide", None, True])
def test_intrinsics_must_be_finite_and_positive(value: object) -> None:
    with pytest.raises(ValueError, match="fx"):
        Intrinsics(value, 60, 20, 15)  # type: ignore[arg-type]


def test_intrinsics_follow_crops_and_resizes() -> None:
    half = Intrinsics(100, 100, 159.5, 119.5).scaled(0.5, 0.5)
    assert (half.fx, half.cx, half.cy) == (50, 79.5, 59.5)
    assert Intrinsics(100, 100, 50, 40).cropped(10, 20).as_dict() == {"fx": 100, "fy": 100, "cx": 40, "cy": 20}
    assert Intrinsics.from_dict({**CAMERA.as_dict(), "width": 640}) == CAMERA
    with pytest.raises(ValueError, match="cx, cy missing"):
        Intrinsics.from_dict({"fx": 1, "fy": 1})


@pytest.mark.parametrize("depth", [0.0, np.nan, np.inf, -1.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 9), (16, 16), (33, 31)])
def test_degenerate_pictures_give_zero_flow(shape: tuple[int, int], depth: float) -> None:
    grey, metres = np.full(shape, 90, np.uint8), np.full(shape, depth)
    result = scene_flow(grey, metres, grey, metres, CAMERA)
    assert result.flow.shape == (*shape, 3)
    assert not result.flow.any()
    assert result.valid.all() == (depth == 1.0)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 48),
    width=st.integers(1, 48),
    seed=st.integers(0, 2**32 - 1),
    method=st.sampled_from(sorted(METHODS)),
    holes=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    noise=st.sampled_from([0.001, 0.3, 30.0]),
)
def test_any_input_gives_finite_bounded_flow(
    height: int, width: int, seed: int, method: str, holes: float, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    rgb0, rgb1 = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    depths = np.abs(1 + noise * rng.normal(size=(2, height, width)))
    depths[rng.random(depths.shape) < holes] = rng.choice([0, np.nan, np.inf, -5, 1e30])
    try:
        flow, valid = scene_flow(rgb0, depths[0], rgb1, depths[1], CAMERA, method=method)
    except ValueError as error:
        assert "millimetres" in str(error)  # so many 1e30 that the median is beyond belief
        return
    assert flow.dtype == np.float32
    assert flow.shape == (height, width, 3)
    assert valid.dtype == bool
    assert np.isfinite(flow).all()
    assert not flow[~valid].any()
    if method.startswith("dis") and method != "dis2d":
        assert np.abs(flow).max(initial=0) <= 0.5
        assert not valid[~((depths[0] > 0) & (depths[0] < 1e30))].any()
