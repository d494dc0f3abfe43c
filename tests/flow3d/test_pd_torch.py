"""PD-Flow on torch: against the formulas written out pixel by pixel, on known motion, and that it never breaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.flow3d import Intrinsics
from vidaff.flow3d.pd.schedule import Schedule, Stage, authors
from vidaff.flow3d.pd.torch_solver import (
    Coefficients,
    State,
    TorchFrame,
    build_pyramid,
    iterate,
    solve,
    transfer,
)

CAMERA = Intrinsics(52.0, 50.0, 31.5, 23.5)


def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)[None]


def frame(grey: np.ndarray, depth: np.ndarray, levels: int, dtype: torch.dtype = torch.float32) -> TorchFrame:
    return build_pyramid(tensor(grey, dtype), tensor(depth, dtype), levels)


def texture(u: np.ndarray, v: np.ndarray, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    value = np.full(np.broadcast(u, v).shape, 128.0)
    for _ in range(12):
        a, b, phase = *rng.normal(0, 0.2, 2), rng.uniform(0, 6.28)
        value += 18 * np.sin(a * u + b * v + phase)
    return value


def plane(move: tuple[float, float, float], shape: tuple[int, int] = (48, 64)) -> tuple[TorchFrame, TorchFrame]:
    """A textured wall, facing the camera at 1 m, that moves by ``move`` = (u, v pixels; w metres)."""
    v, u = np.mgrid[: shape[0], : shape[1]].astype(float)
    near = 1 + move[2]
    # Frame 1's pixel sees the wall's point whose frame 0 pixel is this.
    back_u = (u - CAMERA.cx - move[0]) * near + CAMERA.cx
    back_v = (v - CAMERA.cy - move[1]) * near + CAMERA.cy
    levels = len(authors(min(shape)).stages)
    first = frame(texture(u, v), np.ones(shape), levels)
    return first, frame(texture(back_u, back_v), np.full(shape, near), levels)


def random_pair(
    seed: int, shape: tuple[int, int] = (48, 64), holes: float = 0.2, batch: int = 1, levels: int = 2
) -> tuple[TorchFrame, TorchFrame]:
    rng = np.random.default_rng(seed)
    grey = rng.uniform(0, 255, (2, batch, *shape))
    depth = rng.uniform(0.6, 1.2) + 0.1 * rng.normal(size=(2, batch, *shape))
    depth[rng.random(depth.shape) < holes] = 0
    both = [build_pyramid(tensor(g, torch.float32)[0], tensor(d)[0], levels) for g, d in zip(grey, depth, strict=True)]
    return both[0], both[1]


# --- Schedule --------------------------------------------------------------------------------------------------------


def test_authors_schedule() -> None:
    schedule = authors(240)
    assert [stage.iterations for stage in schedule.stages] == [40, 55, 70, 85, 100]
    assert [stage.level for stage in schedule.stages] == [4, 3, 2, 1, 0]
    assert [stage.iterations for stage in authors(480).stages] == [25, 40, 55, 70, 85, 100]
    assert len(authors(4000).stages) == 6
    assert [len(authors(rows).stages) for rows in (1, 15, 29, 30, 59, 60)] == [1, 1, 1, 2, 2, 3]
    with pytest.raises(ValueError, match="rows"):
        authors(0)


# --- What it measures ------------------------------------------------------------------------------------------------


def test_constant_pictures_do_not_move() -> None:
    still = frame(np.full((48, 64), 90.0), np.full((48, 64), 0.8), 2)
    for plane_ in solve(still, still, CAMERA, authors(48)):
        assert plane_.shape == (1, 48, 64)
        assert not plane_.any()


@pytest.mark.parametrize("move", [(0.6, -0.4, 0.0), (1.7, 0.9, 0.0), (0.0, 0.0, -0.02), (0.5, 0.5, 0.015)])
def test_motion_of_a_plane(move: tuple[float, float, float]) -> None:
    u, v, w = solve(*plane(move), CAMERA, authors(48))
    rows, columns = np.mgrid[:48, :64]
    truth_u = (columns - CAMERA.cx) / (1 + move[2]) + CAMERA.cx + move[0] - columns
    truth_v = (rows - CAMERA.cy) / (1 + move[2]) + CAMERA.cy + move[1] - rows
    inner = (0, slice(6, -6), slice(6, -6))
    assert np.abs(u[inner] - truth_u[inner[1:]]).mean() < 0.05
    assert np.abs(v[inner] - truth_v[inner[1:]]).mean() < 0.05
    assert np.abs(w[inner] - move[2]).max() < 0.001


def test_warping_again_and_a_start_reach_further() -> None:
    pair, one = plane((4.0, 0.0, 0.0)), Schedule((Stage(0, 40),))
    far = solve(*pair, CAMERA, one)[0]
    assert far.abs().max() <= 1
    again = solve(*pair, CAMERA, Schedule((Stage(0, 40, warps=8),)))[0]
    start = (torch.full_like(far, 3.6), torch.zeros_like(far), torch.zeros_like(far))
    started = solve(*pair, CAMERA, one, start)[0]
    inner = (0, slice(6, -6), slice(6, -10))
    assert (far[inner] - 4).abs().mean() > 3
    assert (started[inner] - 4).abs().mean() < 0.1
    assert (again[inner] - 4).abs().mean() < 0.02


def test_duals_go_on_over_a_second_warp_unless_told_otherwise() -> None:
    pair, twice = random_pair(2), (Stage(0, 10, warps=2),)
    once = Schedule((Stage(0, 10),))
    chained = solve(*pair, CAMERA, once, solve(*pair, CAMERA, once))
    anew = solve(*pair, CAMERA, Schedule(twice, keep_duals=False))
    torch.testing.assert_close(anew, chained, atol=0, rtol=0)
    assert (solve(*pair, CAMERA, Schedule(twice))[0] - anew[0]).abs().max() > 0.01


def test_start_reaches_the_coarsest_level_scaled() -> None:
    pair = random_pair(3, levels=3)
    start = tuple(torch.randn(1, 48, 64) for _ in range(3))
    nothing = Schedule((Stage(2, 0, warps=0),))
    u, v, w = solve(*pair, CAMERA, nothing, start)
    x = torch.stack([start[0][:, ::4, ::4] / 4, start[1][:, ::4, ::4] / 4, start[2][:, ::4, ::4]])
    state = transfer(transfer(State(x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x[0]))))
    torch.testing.assert_close(torch.stack([u, v, w]), state.x)


def test_a_result_of_a_coarse_level_is_brought_to_the_finest() -> None:
    pair = plane((1.0, 0.0, -0.01))
    u, _, w = solve(*pair, CAMERA, Schedule((Stage(1, 60),)))
    assert u.shape == (1, 48, 64)
    assert u[0, 10:-10, 24:-24].mean() == pytest.approx(1.0, abs=0.2)
    assert w[0, 10:-10, 10:-10].mean() == pytest.approx(-0.01, abs=0.001)


def test_masked_terms_leave_out_another_surface() -> None:
    first, second = plane((0.0, 0.0, 0.0))
    depth = second.depth[0].clone()
    depth[:, 20:28, 28:36] = 0.5
    second = build_pyramid(second.grey[0], depth, 2)
    plain, masked = (solve(first, second, CAMERA, Schedule((Stage(0, 60),), masked=m))[2] for m in (False, True))
    assert masked.abs().max() < 1e-6
    assert plain.abs().max() > 1e-4


# --- Invariants ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(1, 1), (1, 9), (7, 2), (16, 16), (33, 31)]),
    holes=st.sampled_from([0.0, 0.5, 0.97, 1.0]),
    masked=st.booleans(),
)
def test_any_input_gives_finite_motion(seed: int, shape: tuple[int, int], holes: float, masked: bool) -> None:
    levels = 2 if shape == (16, 16) else 1
    pair = random_pair(seed, shape, holes, levels=levels)
    stages = tuple(Stage(level, 12, warps=2) for level in reversed(range(levels)))
    u, v, w = solve(*pair, CAMERA, Schedule(stages, masked=masked))
    assert all(plane_.isfinite().all() and plane_.shape == (1, *shape) for plane_ in (u, v, w))
    assert not w[pair[0].depth[0] == 0].any()


def test_without_any_depth_only_the_picture_moves() -> None:
    first, second = plane((0.6, 0.0, 0.0))
    nothing = torch.zeros(1, 48, 64)
    u, _, w = solve(
        build_pyramid(first.grey[0], nothing, 2), build_pyramid(second.grey[0], nothing, 2), CAMERA, authors(48)
    )
    assert not w.any()
    assert u[0, 8:-8, 8:-8].mean() == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_equals_its_pairs_alone(masked: bool) -> None:
    both = random_pair(5, batch=2)
    schedule = Schedule((Stage(1, 15, warps=2), Stage(0, 20)), masked=masked)
    together = torch.stack(solve(*both, CAMERA, schedule))
    for i in range(2):
        alone = [TorchFrame(*(tuple(level[i : i + 1] for level in planes) for planes in frame_)) for frame_ in both]
        torch.testing.assert_close(torch.stack(solve(*alone, CAMERA, schedule)), together[:, i : i + 1])


def test_duals_stay_in_the_unit_ball() -> None:
    rng = torch.Generator().manual_seed(0)

    def random(*lead: int) -> torch.Tensor:
        return torch.randn(*lead, 1, 8, 9, generator=rng) * 5

    c = Coefficients(*(random(*lead) for lead in ((), (2,), (2,), (), (), (3,), (3,), (3,), (), ())))
    after = iterate(c, State(random(3), random(3), random(3), random()), 5)
    assert (after.p_x.square() + after.p_y.square()).max() <= 1 + 1e-5
    assert after.p_d.abs().max() <= 1


def test_arguments_stay_untouched() -> None:
    pair = random_pair(8)
    start = tuple(torch.ones(1, 48, 64) for _ in range(3))
    copies = [level.clone() for frame_ in pair for planes in frame_ for level in planes]
    solve(*pair, CAMERA, Schedule((Stage(0, 5, warps=2),), masked=True), start)
    for level, copy in zip((x for frame_ in pair for planes in frame_ for x in planes), copies, strict=True):
        assert torch.equal(level, copy)
    assert all((plane_ == 1).all() for plane_ in start)


# --- Pyramid and transfer --------------------------------------------------------------------------------------------


def test_pyramid_centres_coarse_pixels_on_even_fine_ones() -> None:
    grey, depth = np.zeros((8, 8)), np.ones((8, 8))
    grey[4, 4] = 256.0
    depth[4, 4] = 1.05
    depth[0, 0] = 0
    depth[0, 6] = 2.0
    level = frame(grey, depth, 2)
    assert level.grey[1].shape == (1, 4, 4)
    assert level.grey[1][0, 2, 2] == pytest.approx(36.0)
    assert level.grey[1][0, 2, 1] == pytest.approx(6.0)
    assert level.depth[1][0, 0, 0] == 0
    assert level.depth[1][0, 0, 3] == 2.0  # no other depth within 10 cm
    assert level.depth[1][0, 1, 0] == pytest.approx(1.0)
    # Weights g (0.1 - |difference|): the centre's 36 x 0.1, the other 220 x 0.05.
    assert level.depth[1][0, 2, 2] == pytest.approx((3.6 * 1.05 + 11.0) / 14.6)


def test_pyramid_of_a_constant_is_constant_up_to_the_border() -> None:
    level = frame(np.full((16, 24), 77.0), np.full((16, 24), 0.9), 3)
    for grey, depth in zip(*level, strict=True):
        torch.testing.assert_close(grey, torch.full_like(grey, 77.0))
        torch.testing.assert_close(depth, torch.full_like(depth, 0.9))


def test_transfer_filters_inserted_zeros_and_doubles_image_motion() -> None:
    x = torch.arange(3 * 4 * 5, dtype=torch.float64).reshape(3, 1, 4, 5)
    state = transfer(State(x, x + 1, x + 2, x[0] + 3))
    coarse = [*x, *(x + 1), *(x + 2), x[0] + 3]
    fine = [*state.x, *state.p_x, *state.p_y, state.p_d]
    for number, (small, large) in enumerate(zip(coarse, fine, strict=True)):
        expected = naive_transfer(small[0].numpy()) * (2 if number < 2 else 1)
        np.testing.assert_allclose(large[0].numpy(), expected)


def naive_transfer(coarse: np.ndarray) -> np.ndarray:
    inserted = np.zeros((2 * coarse.shape[0], 2 * coarse.shape[1]))
    inserted[::2, ::2] = coarse
    result = np.zeros_like(inserted)
    taps = (1, 4, 6, 4, 1)
    for y, x in np.ndindex(*inserted.shape):
        total = weight = 0.0
        for i, j in np.ndindex(5, 5):
            row, column = y + i - 2, x + j - 2
            if 0 <= row < inserted.shape[0] and 0 <= column < inserted.shape[1]:
                weight += taps[i] * taps[j] / 256
                total += taps[i] * taps[j] / 256 * inserted[row, column]
        result[y, x] = 4 * total / weight
    return result


# --- Against the formulas, pixel by pixel in float64, nothing simplified --------------------------------------------


def naive_connectivity(z: np.ndarray, k: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    height, width = z.shape
    r_x, r_y = np.ones_like(z), np.ones_like(z)
    for v, u in np.ndindex(height, width):
        if u < width - 1:
            distance = math.hypot(
                (u + 1 - k.cx) * z[v, u + 1] / k.fx - (u - k.cx) * z[v, u] / k.fx, z[v, u + 1] - z[v, u]
            )
            r_x[v, u] = 2 / distance if distance else 1
        if v < height - 1:
            distance = math.hypot(
                (v + 1 - k.cy) * z[v + 1, u] / k.fy - (v - k.cy) * z[v, u] / k.fy, z[v + 1, u] - z[v, u]
            )
            r_y[v, u] = 2 / distance if distance else 1
    return r_x, r_y


def naive_gradient(image: np.ndarray, r: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Along columns; ``known``: where 0, the gradient is 0, except in the first and last column."""
    height, width = image.shape
    result = np.zeros_like(image)
    for v in range(height):
        result[v, 0] = image[v, 1] - image[v, 0]
        result[v, -1] = image[v, -1] - image[v, -2]
        for u in range(1, width - 1):
            ahead, behind = r[v, u] * (image[v, u + 1] - image[v, u]), r[v, u - 1] * (image[v, u] - image[v, u - 1])
            if known is None or known[v, u] > 0:
                result[v, u] = (ahead + behind) / (r[v, u] + r[v, u - 1])
    return result


def naive_sample(image: np.ndarray, x: float, y: float, holes: bool = False) -> float:
    height, width = image.shape
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x0, y0 = math.floor(x), math.floor(y)
    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
    if holes and 0 in (image[y0, x0], image[y0, x1], image[y1, x0], image[y1, x1]):
        return float(image[round(y), round(x)])
    top = (1 - x + x0) * image[y0, x0] + (x - x0) * image[y0, x1]
    bottom = (1 - x + x0) * image[y1, x0] + (x - x0) * image[y1, x1]
    return float((1 - y + y0) * top + (y - y0) * bottom)


def naive_solve(
    i0: np.ndarray,
    z0: np.ndarray,
    i1: np.ndarray,
    z1: np.ndarray,
    k: Intrinsics,
    start: np.ndarray,
    iterations: int,
    jump_m: float = math.inf,
) -> np.ndarray:
    """One level, one warp, no median: (3, H, W) totals, with every step size written out. Masked if jump_m is given."""
    height, width = i0.shape
    lambda_i, lambda_d, mu = 0.04, 0.35, 75.0
    r_x, r_y = naive_connectivity(z0, k)
    s_x, s_y = naive_connectivity(z1, k)
    images = (
        i1,
        naive_gradient(i1, s_x),
        naive_gradient(i1.T, s_y.T).T,
        naive_gradient(z1, s_x, z1),
        naive_gradient(z1.T, s_y.T, z1.T).T,
    )
    warped = np.zeros((6, height, width))
    for v, u in np.ndindex(height, width):
        x, y = u + start[0, v, u], v + start[1, v, u]
        warped[:5, v, u] = [naive_sample(image, x, y) for image in images]
        warped[5, v, u] = naive_sample(z1, x, y, holes=True)
    i_t, i_u, i_v, z_u, z_v = warped[0] - i0, *warped[1:5]
    z_t = np.where(warped[5] > 0, warped[5] - z0, 0)
    mu_x = mu / (1 + 1000 * (z_u**2 + z_v**2 + z_t**2))
    for v, u in np.ndindex(height, width):
        # Half a pixel of grace on either side.
        column, row = u + start[0, v, u], v + start[1, v, u]
        outside = not (-0.5 <= column <= width - 0.5 and -0.5 <= row <= height - 0.5)
        missing = z0[v, u] == 0 or warped[5, v, u] == 0
        jumped = not missing and abs(z_t[v, u] - start[2, v, u]) > jump_m
        if jump_m < math.inf and (outside or jumped):
            i_t[v, u] = i_u[v, u] = i_v[v, u] = 0
        if jump_m < math.inf and (outside or jumped or missing):
            mu_x[v, u] = 1e-30  # as good as 0, and sigma can be written as it stands

    now = np.stack([np.zeros_like(i0), np.zeros_like(i0), start[2]])  # du, dv, w
    previous = np.stack([start[0], start[1], np.zeros_like(i0)])
    bar, p_d, p = now.copy(), np.zeros_like(i0), np.zeros((3, 2, height, width))
    weights = (lambda_i, lambda_i, lambda_d)
    for _ in range(iterations):
        for v, u in np.ndindex(height, width):
            du, dv, w = bar[:, v, u]
            rho = z_t[v, u] + z_u[v, u] * du + z_v[v, u] * dv - w
            sigma = 1 / (mu_x[v, u] * (1 + abs(z_u[v, u]) + abs(z_v[v, u])))
            p_d[v, u] = min(1, max(-1, p_d[v, u] + sigma * mu_x[v, u] * rho))
            for n, weight in enumerate(weights):
                total = bar[n] + previous[n]
                right = total[v, u + 1] - total[v, u] if u < width - 1 else 0.0
                down = total[v + 1, u] - total[v, u] if v < height - 1 else 0.0
                for axis, r, slope in ((0, r_x[v, u], right), (1, r_y[v, u], down)):
                    p[n, axis, v, u] += 0.5 / (weight * r) * weight * r * slope
                p[n, :, v, u] /= max(1, math.hypot(*p[n, :, v, u]))
        old = now.copy()
        for v, u in np.ndindex(height, width):
            r_sum = r_x[v, u] + r_y[v, u] + (r_x[v, u - 1] if u else 0) + (r_y[v - 1, u] if v else 0)
            tau = [
                1 / (mu_x[v, u] * abs(z_u[v, u]) + lambda_i * r_sum + 1e-10),
                1 / (mu_x[v, u] * abs(z_v[v, u]) + lambda_i * r_sum + 1e-10),
                1 / (mu_x[v, u] + lambda_d * r_sum + 1e-10),
            ]
            for n, (weight, factor) in enumerate(zip(weights, (z_u[v, u], z_v[v, u], -1), strict=True)):
                divergence = 0.0
                if u < width - 1:
                    divergence += r_x[v, u] * p[n, 0, v, u]
                if u:
                    divergence -= r_x[v, u - 1] * p[n, 0, v, u - 1]
                if v < height - 1:
                    divergence += r_y[v, u] * p[n, 1, v, u]
                if v:
                    divergence -= r_y[v - 1, u] * p[n, 1, v - 1, u]
                now[n, v, u] = old[n, v, u] - tau[n] * (mu_x[v, u] * factor * p_d[v, u] - weight * divergence)
            rho = i_t[v, u] + i_u[v, u] * now[0, v, u] + i_v[v, u] * now[1, v, u]
            s = rho / (tau[0] * i_u[v, u] ** 2 + tau[1] * i_v[v, u] ** 2 + 1e-10)
            s = min(1, max(-1, s))
            now[0, v, u] -= tau[0] * i_u[v, u] * s
            now[1, v, u] -= tau[1] * i_v[v, u] * s
        bar = 2 * now - old
    now[:2] = np.clip(now[:2], -1, 1)
    return np.where(np.arange(3)[:, None, None] == 2, now * (z0 > 0), now + previous)


@pytest.mark.parametrize(("moved", "masked"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("holes", [0.0, 0.15])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-5)])
def test_ten_iterations_equal_the_formulas(
    moved: bool, masked: bool, holes: float, dtype: torch.dtype, tolerance: float
) -> None:
    rng = np.random.default_rng(11)
    shape, camera = (9, 11), Intrinsics(10.0, 9.0, 5.3, 3.9)
    i0, i1 = rng.uniform(80, 120, (2, *shape))
    z0, z1 = 1 + 0.02 * rng.normal(size=(2, *shape))
    z0[rng.random(shape) < holes] = 0
    z1[rng.random(shape) < holes] = 0
    start = rng.normal(0, [[[1.2]], [[1.2]], [[0.02]]], (3, *shape)) if moved else np.zeros((3, *shape))
    # What the solver gets is rounded to its precision; the formulas start from the same numbers.
    i0, z0, i1, z1, start = (tensor(x, dtype)[0].double().numpy() for x in (i0, z0, i1, z1, start))
    expected = naive_solve(i0, z0, i1, z1, camera, start, 10, jump_m=0.03 if masked else math.inf)
    u, v, w = solve(
        frame(i0, z0, 1, dtype),
        frame(i1, z1, 1, dtype),
        camera,
        Schedule((Stage(0, 10, median=False),), masked=masked, jump_m=0.03),
        (tensor(start[0], dtype), tensor(start[1], dtype), tensor(start[2], dtype)),
    )
    assert np.abs(expected - start).max() > 0.1
    np.testing.assert_allclose(np.concatenate([u, v, w]), expected, atol=tolerance, rtol=0)


def naive_median(plane_: np.ndarray, z: np.ndarray, change: np.ndarray) -> np.ndarray:
    result = plane_.copy()
    for v, u in np.argwhere(z > 0):
        pairs = []
        for y in range(max(v - 1, 0), min(v + 2, z.shape[0])):
            for x in range(max(u - 1, 0), min(u + 2, z.shape[1])):
                weight = 1 / (1 + 5 * (z[v, u] - z[y, x]) ** 2 + 10 * change[y, x] ** 2)
                pairs.append((plane_[y, x], weight))
        values, weights = (np.array(column) for column in zip(*sorted(pairs), strict=True))
        reached = weights.cumsum()
        result[v, u] = np.interp(reached[-1] / 2, reached, values)
    return result


def test_weighted_median_equals_the_formula() -> None:
    rng = np.random.default_rng(4)
    shape = (8, 10)
    grey, z0, z1 = rng.uniform(0, 255, shape), *(1 + 0.3 * rng.normal(size=(2, *shape)))
    z0[rng.random(shape) < 0.2] = 0
    z1[rng.random(shape) < 0.2] = 0
    x = rng.normal(size=(3, *shape))
    x[:2] = np.rint(x[:2])  # whole pixels: sampled depth is a pixel's own; and many values are equal
    v, u = np.mgrid[: shape[0], : shape[1]]
    row, column = v + x[1].astype(int), u + x[0].astype(int)
    there = z1[row.clip(0, shape[0] - 1), column.clip(0, shape[1] - 1)]
    change = np.where(there > 0, there - z0, 0)
    first, second = frame(grey, z0, 1, torch.float64), frame(grey, z1, 1, torch.float64)
    start = tuple(tensor(plane_, torch.float64) for plane_ in x)
    filtered = solve(first, second, CAMERA, Schedule((Stage(0, 0),)), start)
    x[2] *= z0 > 0
    for plane_, result in zip(x, filtered, strict=True):
        np.testing.assert_allclose(result[0].numpy(), naive_median(plane_, z0, change), atol=1e-12)


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grey", "depth", "levels", "named"),
    [
        (torch.zeros(48, 64), torch.zeros(48, 64), 1, "grey"),
        (torch.zeros(1, 48, 64, dtype=torch.uint8), torch.zeros(1, 48, 64), 1, "grey"),
        (torch.zeros(1, 48, 64), torch.zeros(1, 48, 63), 1, "depth"),
        (torch.zeros(1, 48, 64), torch.zeros(1, 48, 64, dtype=torch.float64), 1, "depth"),
        (torch.zeros(1, 48, 62), torch.zeros(1, 48, 62), 3, "levels"),
        (torch.zeros(1, 48, 64), torch.zeros(1, 48, 64), 0, "levels"),
    ],
)
def test_bad_pictures_are_named(grey: torch.Tensor, depth: torch.Tensor, levels: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build_pyramid(grey, depth, levels)


@pytest.mark.parametrize(
    "stages", [(), (Stage(0, 5), Stage(1, 5)), (Stage(3, 5),), (Stage(0, 5), Stage(0, 5)), (Stage(0, -1),)]
)
def test_bad_schedules_are_named(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ValueError, match="schedule"):
        solve(*random_pair(0), CAMERA, Schedule(stages))


def test_frames_and_start_of_another_size_are_named() -> None:
    pair = random_pair(0)
    with pytest.raises(ValueError, match="frame1"):
        solve(pair[0], random_pair(0, (16, 16))[1], CAMERA, authors(48))
    small = torch.zeros(1, 2, 2)
    with pytest.raises(ValueError, match="start"):
        solve(*pair, CAMERA, authors(48), (small, small, small))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_equals_cpu() -> None:
    pair = plane((1.2, -0.5, 0.01))
    on_gpu = [TorchFrame(*(tuple(level.cuda() for level in planes) for planes in frame_)) for frame_ in pair]
    expected = torch.stack(solve(*pair, CAMERA, authors(48)))
    for _ in range(2):  # recorded, then replayed
        torch.testing.assert_close(torch.stack(solve(*on_gpu, CAMERA, authors(48))).cpu(), expected, atol=1e-3, rtol=0)
