"""Colour coding and the store: round trips, holes, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidaff.flow3d import decode_flow, encode_flow, flow_scale, pack_flow, unpack_flow

METRES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).map(lambda s: (*s, 3)),
    elements=st.floats(-4, 4, width=32),
)


@settings(deadline=None)
@given(METRES, st.integers(0, 2**32 - 1))
def test_store_round_trip(flow: np.ndarray, seed: int) -> None:
    valid = np.random.default_rng(seed).random(flow.shape[:-1]) < 0.7
    back = unpack_flow(pack_flow(flow, valid))
    np.testing.assert_array_equal(back.valid, valid)
    np.testing.assert_allclose(back.flow[valid], np.clip(flow[valid], -3.2767, 3.2767), atol=5.1e-5)
    assert not back.flow[~valid].any()


def test_store_marks_what_is_not_finite_as_invalid() -> None:
    flow = np.array([[np.nan, 0, 0], [0, np.inf, 0], [1e30, -1e30, 0.00014]], np.float32)
    packed = pack_flow(flow)
    np.testing.assert_array_equal(packed, [[-32768] * 3, [-32768] * 3, [32767, -32767, 1]])
    assert packed.dtype == np.int16


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: pack_flow(np.zeros((4, 2))), "flow"),
        (lambda: pack_flow(np.zeros((4, 3), int)), "flow"),
        (lambda: pack_flow(np.zeros((4, 3)), np.ones(5, bool)), "valid"),
        (lambda: unpack_flow(np.zeros((4, 3))), "packed"),
        (lambda: encode_flow(np.zeros((4, 3))), "flow"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), np.ones((4, 2))), "valid"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), coding="rainbow"), "coding"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), scale="clip"), "scale"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), coding="abs", scale="p101"), "scale"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), coding="abs", scale="px"), "scale"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), scale=0.0), "scale"),
        (lambda: encode_flow(np.zeros((2, 4, 3)), scale=[1, 2]), "scale"),
        (lambda: decode_flow(np.zeros((2, 3))), "colour"),
    ],
)
def test_bad_input_is_named(call, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=named):
        call()


@settings(deadline=None)
@given(METRES, st.sampled_from([0.1, 0.5, 4.0]))
def test_signed_colours_can_be_inverted(flow: np.ndarray, scale: float) -> None:
    flow = flow if flow.ndim > 2 else flow[None]
    colour = encode_flow(flow, scale=scale)
    np.testing.assert_allclose(decode_flow(colour, scale), np.clip(flow, -scale, scale), atol=scale / 254 + 1e-6)


def test_signed_rest_and_holes_are_mid_grey() -> None:
    flow = np.full((2, 2, 3), 0.1, np.float32)
    flow[0, 0] = 0
    flow[1, 1] = np.nan
    valid = np.array([[True, False], [True, True]])
    colour = encode_flow(flow, valid)
    np.testing.assert_array_equal(colour[0], 128)
    np.testing.assert_array_equal(colour[1, 0], 255)
    np.testing.assert_array_equal(colour[1, 1], 128)
    assert encode_flow(np.full((1, 1, 3), -0.1))[0, 0].tolist() == [1, 1, 1]


def test_channels_are_vertical_horizontal_depth() -> None:
    flow = np.array([[[1.0, 0.5, 0.25]]])  # X Y Z
    np.testing.assert_array_equal(encode_flow(flow, coding="abs", scale=1.0)[0, 0], [128, 255, 64])


def test_abs_scales_by_clip_frame_or_percentile() -> None:
    clip = np.zeros((2, 4, 5, 3), np.float32)
    clip[0, 1, 1] = [0.1, -0.2, 0]
    clip[1, 2, 2] = [-0.4, 0.1, 0]
    whole, each = encode_flow(clip, coding="abs"), encode_flow(clip, coding="abs", scale="frame")
    assert whole[1, 2, 2].tolist() == [128, 255, 0]
    assert whole[0, 1, 1].tolist() == [255, 64, 0]
    assert each[0, 1, 1].tolist() == [255, 255, 0]
    assert not encode_flow(clip, coding="abs", scale="p50").any()
    np.testing.assert_allclose(flow_scale(clip), [0.4, 0.2, 0], rtol=1e-6)
    np.testing.assert_allclose(flow_scale(clip, scale="frame"), [[0.1, 0.2, 0], [0.4, 0.1, 0]], rtol=1e-6)
    np.testing.assert_allclose(flow_scale(clip, scale="p100"), [0.4, 0.2, 0], rtol=1e-6)


def test_abs_of_nothing_is_black() -> None:
    for scale in ("clip", "frame", "p99"):
        assert not encode_flow(np.full((3, 4, 3), np.nan), coding="abs", scale=scale).any()
