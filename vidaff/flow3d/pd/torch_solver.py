"""PD-Flow on torch tensors, batched: the readable reference and the GPU path.

Worked example, 4 pairs of 240x320 frames, five levels::

    frame0 = build_pyramid(grey0, depth0, levels=5)   # (4, 240, 320), (4, 120, 160), ... (4, 15, 20)
    frame1 = build_pyramid(grey1, depth1, levels=5)   # grey 0..255, depth metres, 0 = missing
    u, v, w = solve(frame0, frame1, camera, authors(240))   # each (4, 240, 320): pixels, pixels, metres

Per level the unknowns x = (u, v, w) minimise, by a preconditioned primal-dual iteration,
``|grey residual| + mu_x |depth residual| + lambda_i (TV_r(u) + TV_r(v)) + lambda_d TV_r(w)``.

Source: Jaimez, Souiai, Gonzalez-Jimenez, Cremers, "A Primal-Dual Framework for Real-Time Dense RGB-D Scene Flow",
ICRA 2015; parameters and border rules as in the authors' program. Deviations are marked where they happen.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vidaff.flow3d.pd.schedule import Schedule, Stage
from vidaff.flow3d.types import Intrinsics

TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The pyramid's binomial filter along one axis."""
DEPTH_REACH_M = 0.1
"""A depth further than this from the centre's belongs to another surface and is left out of its mean."""
TINY = 1e-10
"""Added to denominators that vanish where nothing is known."""


class TorchFrame(NamedTuple):
    """A frame's pyramid, level 0 finest: each level (B, H / 2^l, W / 2^l), grey 0..255 and depth metres (0 = none)."""

    grey: tuple[Tensor, ...]
    depth: tuple[Tensor, ...]


class State(NamedTuple):
    """Variables of the iteration; the first axis of ``x``, ``p_x``, ``p_y`` counts u, v, w.

    ``x`` (3, B, H, W): total image motion in pixels of the level, depth motion in metres. ``p_x``, ``p_y``
    (3, B, H, W): duals of their gradients, in the unit disc. ``p_d`` (B, H, W): dual of the depth term, in [-1, 1].
    """

    x: Tensor
    p_x: Tensor
    p_y: Tensor
    p_d: Tensor


class Coefficients(NamedTuple):
    """Constants of the iteration after a warp, step sizes included; rows of length 3 count u, v, w.

    With grey residual ``a + I_u u + I_v v``, depth residual ``b + K x``, ``K = (Z_u, Z_v, -1)``, both of total
    motion, and n = 1 + abs(Z_u) + abs(Z_v):
    """

    grey_offset: Tensor  # a                     (B, H, W)
    grey_slope: Tensor  # I_u, I_v               (2, B, H, W)
    grey_step: Tensor  # tau I_u, tau I_v        (2, B, H, W)
    grey_gain: Tensor  # 1 / (tau_u I_u^2 + tau_v I_v^2)
    depth_offset: Tensor  # b / n                (B, H, W)
    depth_slope: Tensor  # K / n                 (3, B, H, W)
    depth_step: Tensor  # tau mu_x K             (3, B, H, W)
    smooth_step: Tensor  # tau lambda            (3, B, H, W)
    r_x: Tensor  # 0 in the last column          (B, H, W)
    r_y: Tensor  # 0 in the last row             (B, H, W)


class Level(NamedTuple):
    """One level of both frames. ``sources`` (6, B, H, W) are sampled by each warp: I, Z and their gradients."""

    grey0: Tensor
    depth0: Tensor
    sources: Tensor  # I, I_u, I_v, Z_u, Z_v, Z of frame 1
    r_x: Tensor
    r_y: Tensor
    seen: Tensor  # bool: not known to be hidden in frame 1


def build_pyramid(grey: Tensor, depth: Tensor, levels: int) -> TorchFrame:
    """Halve ``grey`` (B, H, W) 0..255 and ``depth`` (B, H, W) metres, 0 = missing, ``levels - 1`` times.

    Coarse pixel (y, x) is centred on fine pixel (2y, 2x). Raises ``ValueError`` naming the argument: shapes that
    differ, integers, sides that ``2^(levels - 1)`` does not divide.
    """
    if grey.ndim != 3 or not grey.is_floating_point():
        raise ValueError(f"grey: must be (B, H, W) float, got {tuple(grey.shape)} {grey.dtype}")
    if depth.shape != grey.shape or depth.dtype != grey.dtype:
        raise ValueError(
            f"depth: must be {tuple(grey.shape)} {grey.dtype} as grey is, got {tuple(depth.shape)} {depth.dtype}"
        )
    if levels < 1 or any(side % 2 ** (levels - 1) for side in grey.shape[1:]) or 0 in grey.shape:
        raise ValueError(f"levels: 2^({levels} - 1) must divide both sides of {tuple(grey.shape[1:])}; pad first")
    greys, depths = [grey], [depth]
    with torch.no_grad():
        for _ in range(levels - 1):
            greys.append(_halve_grey(greys[-1]))
            depths.append(_halve_depth(depths[-1]))
    return TorchFrame(tuple(greys), tuple(depths))


@torch.no_grad()
def solve(
    frame0: TorchFrame,
    frame1: TorchFrame,
    camera: Intrinsics,
    schedule: Schedule,
    start: tuple[Tensor, Tensor, Tensor] | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Motion of frame 0's pixels to frame 1: u, v in pixels of level 0 and w in metres, each (B, H, W).

    ``camera``: of level 0. ``start``: u, v, w as returned, finite, to begin from; None = zeros. ``hidden`` (B, H, W)
    bool: pixels known to be out of sight in frame 1; a masked schedule leaves their data terms out. w is 0 where
    frame 0 has no depth (if the last stage is level 0). Raises ``ValueError`` naming the argument: frames that differ,
    stages that are not consecutive levels of the pyramid.
    """
    _check(frame0, frame1, schedule, start)
    state = _begin(frame0, schedule.stages[0].level, start)
    with _no_denormals(state.x.device):
        for position, stage in enumerate(schedule.stages):
            state = transfer(state) if position else state
            level = _level(frame0, frame1, camera, stage.level, hidden)
            for _ in range(stage.warps):
                state = _warp_once(level, state, schedule, stage)
        for _ in range(schedule.stages[-1].level):
            state = transfer(state)
    u, v, w = state.x.unbind()
    return u, v, w


def iterate(c: Coefficients, state: State, iterations: int) -> State:
    """``iterations`` of the primal-dual loop from ``state``, which stays as it is, with over-relaxation from rest.

    Source: the algorithm of Chambolle and Pock with diagonal preconditioning, as in the authors' program. In the
    dual steps r, lambda and mu_x cancel against the step sizes.
    """
    x, p_x, p_y, p_d = (variable.clone() for variable in state)
    bar = x.clone()
    for _ in range(iterations):
        p_d.add_(c.depth_offset).add_((c.depth_slope * bar).sum(0)).clamp_(-1, 1)
        p_x[..., :-1].add_(bar.diff(dim=-1), alpha=0.5)
        p_y[..., :-1, :].add_(bar.diff(dim=-2), alpha=0.5)
        shrink = (p_x * p_x).addcmul_(p_y, p_y).clamp_min_(1).rsqrt_()
        p_x.mul_(shrink)
        p_y.mul_(shrink)

        moved = torch.addcmul(x, c.smooth_step, _divergence(c.r_x * p_x, c.r_y * p_y)).addcmul_(
            c.depth_step, p_d, value=-1
        )
        grey = (c.grey_slope * moved[:2]).sum(0).add_(c.grey_offset)
        moved[:2].addcmul_(c.grey_step, grey.mul_(c.grey_gain).clamp_(-1, 1), value=-1)

        torch.sub(2 * moved, x, out=bar)
        x = moved
    return State(x, p_x, p_y, p_d)


def iterate_graphed(c: Coefficients, state: State, iterations: int) -> State:
    """:func:`iterate` on a CUDA device, recorded once per shape and count and replayed: launches cost next to nothing.

    Recordings keep their own buffers, so one process must not call this from several threads or streams at once.
    """
    return _recording(tuple(state.x.shape), state.x.dtype, state.x.device, iterations)(c, state)


def transfer(state: State) -> State:
    """To the next finer level: image motion doubles; the seven duals go along, as a warm start."""
    planes = torch.cat([state.x, state.p_x, state.p_y, state.p_d[None]])  # (10, B, H, W)
    planes = _double(_double(planes).mT).mT  # (10, B, 2H, 2W)
    planes[:2] *= 2
    return State(planes[0:3], planes[3:6], planes[6:9], planes[9])


def _warp_once(level: Level, state: State, schedule: Schedule, stage: Stage) -> State:
    before = state.x
    coefficients, depth_change = _linearise(level, before, schedule)
    state = state if schedule.keep_duals else _at_rest(before)
    state = (iterate_graphed if before.is_cuda else iterate)(coefficients, state, stage.iterations)
    x = _limit(state.x, before, level.depth0, schedule.limit_px)
    return state._replace(x=_median(x, level.depth0, depth_change) if stage.median else x)


@functools.lru_cache(maxsize=16)
def _recording(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, iterations: int
) -> Callable[[Coefficients, State], State]:
    # Cached buffers made under inference mode could not be written outside it.
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
        one, two, three = (torch.zeros(n, *shape[1:], dtype=dtype, device=device) for n in (1, 2, 3))
        c = Coefficients(*(x.clone() for x in (one[0], two, two, one[0], one[0], three, three, three, one[0], one[0])))
        state = State(*(x.clone() for x in (three, three, three, one[0])))
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            iterate(c, state, 1)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = iterate(c, state, iterations)

    def replay(given_c: Coefficients, given_state: State) -> State:
        for buffer, given in zip((*c, *state), (*given_c, *given_state), strict=True):
            buffer.copy_(given)
        graph.replay()
        return State(*(variable.clone() for variable in result))

    return replay


@contextlib.contextmanager
def _no_denormals(device: torch.device) -> Iterator[None]:
    """Around moving parts values creep below 1e-38, where CPUs are several times slower."""
    if device.type != "cpu":
        yield
        return
    # Torch does not tell the present setting; what it makes of such a number does.
    before = (torch.tensor(1e-40) * 1).item() == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _check(
    frame0: TorchFrame, frame1: TorchFrame, schedule: Schedule, start: tuple[Tensor, Tensor, Tensor] | None
) -> None:
    if [level.shape for level in frame0.grey] != [level.shape for level in frame1.grey]:
        raise ValueError(f"frame1: must have frame0's levels and sizes, {_sizes(frame0)}, got {_sizes(frame1)}")
    levels = [stage.level for stage in schedule.stages]
    if not levels or levels[-1] < 0 or levels != list(range(levels[0], levels[0] - len(levels), -1)):
        raise ValueError(f"schedule: stages must be consecutive levels, coarse to fine, got {levels}")
    if levels[0] >= len(frame0.grey):
        raise ValueError(f"schedule: stage of level {levels[0]}, but the pyramid has {len(frame0.grey)} levels")
    if any(stage.iterations < 0 or stage.warps < 0 for stage in schedule.stages):
        raise ValueError("schedule: iterations and warps of a stage must not be negative")
    if start is not None and any(plane.shape != frame0.grey[0].shape for plane in start):
        shapes = [tuple(plane.shape) for plane in start]
        raise ValueError(f"start: u, v and w must be {tuple(frame0.grey[0].shape)}, got {shapes}")


def _sizes(frame: TorchFrame) -> list[tuple[int, ...]]:
    return [tuple(level.shape) for level in frame.grey]


def _begin(frame: TorchFrame, level: int, start: tuple[Tensor, Tensor, Tensor] | None) -> State:
    like = frame.grey[level]
    if start is None:
        return _at_rest(like.new_zeros(3, *like.shape))
    step = 2**level
    x = torch.stack([plane[:, ::step, ::step] for plane in start]).to(like)
    x[:2] /= step
    return _at_rest(x)


def _at_rest(x: Tensor) -> State:
    return State(x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x[0]))


# --- Pyramid ---------------------------------------------------------------------------------------------------------


def _windows(image: Tensor, side: int, step: int = 1, outside: float = 0.0) -> Tensor:
    """(B, H, W) -> (B, ceil(H / step), ceil(W / step), side^2): the square window around every step-th pixel."""
    reach = side // 2
    padded = F.pad(image, (reach, reach, reach, reach), value=outside)
    return padded.unfold(1, side, step).unfold(2, side, step).flatten(-2)


def _kernel(like: Tensor) -> Tensor:
    taps = like.new_tensor(TAPS)
    return torch.outer(taps, taps).flatten()  # (25,)


def _halve_grey(grey: Tensor) -> Tensor:
    kernel = _kernel(grey)
    weight = (_windows(torch.ones_like(grey[:1]), 5, 2) * kernel).sum(-1)
    return (_windows(grey, 5, 2) * kernel).sum(-1) / weight


def _halve_depth(depth: Tensor) -> Tensor:
    """Mean over depths close to the centre's, the closer the heavier; holes (and what is outside) do not count."""
    taps, centre = _windows(depth, 5, 2), depth[:, ::2, ::2, None]
    weight = _kernel(depth) * (DEPTH_REACH_M - (taps - centre).abs()).clamp_min(0) * (taps > 0)
    total = weight.sum(-1)
    return torch.where(total > 0, (weight * taps).sum(-1) / total, 0)


def _double(planes: Tensor) -> Tensor:
    """Up-sample along the last axis: zeros between the samples, then the binomial filter times 2.

    At the border the result is divided by the weight of the taps that lie inside, inserted zeros among them, as the
    authors' program does; so a constant is not kept within two pixels of the border (14/11 in the first column).
    """
    inserted = torch.stack([planes, torch.zeros_like(planes)], -1).flatten(-2)  # (..., 2W)
    taps = planes.new_tensor(TAPS)
    inside = F.pad(torch.ones_like(inserted[0, 0, 0]), (2, 2)).unfold(-1, 5, 1)  # (2W, 5)
    filtered = (F.pad(inserted, (2, 2)).unfold(-1, 5, 1) * taps).sum(-1)
    return 2 * filtered / (inside * taps).sum(-1)


# --- One level: gradients, warp, step sizes --------------------------------------------------------------------------


def _level(
    frame0: TorchFrame, frame1: TorchFrame, camera: Intrinsics, level: int, hidden: Tensor | None = None
) -> Level:
    grey1, depth1 = frame1.grey[level], frame1.depth[level]
    r_x, r_y = _connectivity(frame0.depth[level], camera, level)
    near_x, near_y = _connectivity(depth1, camera, level)
    known = depth1 > 0
    z_u, z_v = _gradient(depth1, near_x), _gradient(depth1.mT, near_y.mT).mT
    # The authors' program does not look at missing depth along the border the difference runs across.
    z_u[..., 1:-1] *= known[..., 1:-1]
    z_v[..., 1:-1, :] *= known[..., 1:-1, :]
    sources = torch.stack([grey1, _gradient(grey1, near_x), _gradient(grey1.mT, near_y.mT).mT, z_u, z_v, depth1])
    step = 2**level
    seen = torch.ones_like(known) if hidden is None else ~hidden[:, ::step, ::step]
    return Level(frame0.grey[level], frame0.depth[level], sources, r_x, r_y, seen)


def _connectivity(depth: Tensor, camera: Intrinsics, level: int) -> tuple[Tensor, Tensor]:
    """r_x, r_y: 2 / distance to the right and to the lower neighbour in space; 1 without one or between two holes."""
    height, width = depth.shape[1:]
    # Deviation: the principal point follows the pyramid exactly (coarse pixel on every second fine one) and both
    # focal lengths count; the authors keep the middle of each level and one focal length.
    scale = 2**level
    columns = torch.arange(width, dtype=depth.dtype, device=depth.device)
    rows = torch.arange(height, dtype=depth.dtype, device=depth.device)[:, None]
    x = (columns - camera.cx / scale) * depth / (camera.fx / scale)
    y = (rows - camera.cy / scale) * depth / (camera.fy / scale)
    return _inverse_distance(x, depth), _inverse_distance(y.mT, depth.mT).mT


def _inverse_distance(x: Tensor, z: Tensor) -> Tensor:
    distance = (x.diff(dim=-1).square() + z.diff(dim=-1).square()).sqrt()
    return F.pad(torch.where(distance > 0, 2 / distance, 1), (0, 1), value=1)


def _gradient(image: Tensor, r: Tensor) -> Tensor:
    """Along the last axis: the mean of forward and backward difference, weighted by r; one-sided at the ends."""
    if image.shape[-1] < 2:
        return torch.zeros_like(image)
    steps = image.diff(dim=-1)
    ahead, behind = r[..., 1:-1], r[..., :-2]
    inner = (ahead * steps[..., 1:] + behind * steps[..., :-1]) / (ahead + behind)
    return torch.cat([steps[..., :1], inner, steps[..., -1:]], -1)


def _linearise(level: Level, x: Tensor, schedule: Schedule) -> tuple[Coefficients, Tensor]:
    """Warp frame 1 by the totals ``x`` (3, B, H, W); also returns the depth change Z_t (B, H, W) in metres."""
    sampled, inside = _warp(level.sources, x[0], x[1])
    slope, z_slope, depth1 = sampled[1:3], sampled[3:5], sampled[5]
    i_t = sampled[0] - level.grey0
    z_t = torch.where(depth1 > 0, depth1 - level.depth0, 0)
    mu = schedule.mu / (1 + 1000 * (z_slope.square().sum(0) + z_t.square()))
    if schedule.masked:
        both = (depth1 > 0) & (level.depth0 > 0)
        usable = level.seen & inside & ~(both & ((z_t - x[2]).abs() > schedule.jump_m))
        slope, i_t, mu = slope * usable, i_t * usable, mu * (usable & both)
    offset = i_t - (slope * x[:2]).sum(0)
    z_offset = z_t - (z_slope * x[:2]).sum(0)
    return _coefficients(level, schedule, mu, offset, slope, z_offset, z_slope), z_t


def _coefficients(
    level: Level, schedule: Schedule, mu: Tensor, offset: Tensor, slope: Tensor, z_offset: Tensor, z_slope: Tensor
) -> Coefficients:
    """Step sizes, the inverse row and column sums of the operator, folded into what they multiply."""
    k = torch.cat([z_slope, -torch.ones_like(mu)[None]])
    weights = mu.new_tensor([schedule.lambda_i, schedule.lambda_i, schedule.lambda_d])[:, None, None, None]
    r = level.r_x + level.r_y
    r[..., 1:] += level.r_x[..., :-1]
    r[..., 1:, :] += level.r_y[..., :-1, :]
    tau = 1 / (mu * k.abs() + weights * r + TINY)
    reach = k.abs().sum(0)
    r_x, r_y = level.r_x.clone(), level.r_y.clone()
    r_x[..., -1] = 0
    r_y[..., -1, :] = 0
    return Coefficients(
        grey_offset=offset,
        grey_slope=slope,
        grey_step=tau[:2] * slope,
        grey_gain=1 / ((tau[:2] * slope.square()).sum(0) + TINY),
        depth_offset=z_offset / reach,
        depth_slope=k / reach,
        depth_step=tau * mu * k,
        smooth_step=tau * weights,
        r_x=r_x,
        r_y=r_y,
    )


def _warp(sources: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Sample ``sources`` (6, B, H, W) at the moved pixels, clamped to the picture; also where that was inside.

    Bilinear; depth, the last source, takes the nearest pixel where one of the four has none.
    """
    height, width = u.shape[1:]
    column = torch.arange(width, device=u.device) + u
    row = torch.arange(height, device=u.device)[:, None] + v
    x, y = column.clamp(0, width - 1), row.clamp(0, height - 1)
    # Half a pixel of grace: a point at rest on the border must not flicker in and out.
    inside = ((x - column).abs() <= 0.5) & ((y - row).abs() <= 0.5)
    left, top = x.long(), y.long()
    right, bottom = (left + 1).clamp_max(width - 1), (top + 1).clamp_max(height - 1)
    flat = sources.flatten(2)

    def at(columns: Tensor, rows: Tensor) -> Tensor:
        index = (rows * width + columns).flatten(1).expand(len(sources), -1, -1)
        return flat.gather(2, index).view_as(sources)

    corners = at(left, top), at(right, top), at(left, bottom), at(right, bottom)
    share_x, share_y = x - left, y - top
    sampled = torch.lerp(
        torch.lerp(corners[0], corners[1], share_x), torch.lerp(corners[2], corners[3], share_x), share_y
    )
    beside_hole = (torch.stack([corner[-1] for corner in corners]) == 0).any(0)
    nearest = at(torch.where(share_x < 0.5, left, right), torch.where(share_y < 0.5, top, bottom))[-1]
    sampled[-1] = torch.where(beside_hole, nearest, sampled[-1])
    return sampled, inside


# --- Parts of the iteration, and the end of a warp -------------------------------------------------------------------


def _divergence(flux_x: Tensor, flux_y: Tensor) -> Tensor:
    """Minus the transpose of the forward differences, for fluxes that are 0 in the last column and row."""
    result = flux_x + flux_y
    result[..., 1:] -= flux_x[..., :-1]
    result[..., 1:, :] -= flux_y[..., :-1, :]
    return result


def _limit(x: Tensor, before: Tensor, depth0: Tensor, limit_px: float) -> Tensor:
    motion = before[:2] + (x[:2] - before[:2]).clamp(-limit_px, limit_px)
    return torch.cat([motion, (x[2] * (depth0 > 0))[None]])


def _median(x: Tensor, depth0: Tensor, depth_change: Tensor) -> Tensor:
    """Weighted median of each 3x3 window, where depth is known.

    A neighbour weighs ``1 / (1 + 5 (Z - Z_n)^2 + 10 Z_t,n^2)``. The value at half of the total weight is
    interpolated between the two that bracket it; of equal values the lighter comes first.
    """
    near, change = _windows(depth0, 3), _windows(depth_change, 3)  # (B, H, W, 9)
    weight = 1 / (1 + 5 * (near - depth0[..., None]).square() + 10 * change.square())
    weight = weight * _windows(torch.ones_like(depth0), 3)
    known = depth0 > 0
    return torch.stack([torch.where(known, _weighted_median(plane, weight), plane) for plane in x])


def _weighted_median(plane: Tensor, weight: Tensor) -> Tensor:
    # Sorted to the end, what lies outside the picture can be neither of the two bracketing values.
    values = _windows(plane, 3, outside=float("inf"))
    # Equal values, frequent where increments were clamped, go by weight: their order changes the result.
    weight, order = weight.sort(-1)
    values, by_value = values.gather(-1, order).sort(dim=-1, stable=True)
    reached = weight.gather(-1, by_value).cumsum(-1)
    half = reached[..., -1:] / 2
    above = (reached < half).sum(-1, keepdim=True)
    below = (above - 1).clamp_min(0)
    low, high = values.gather(-1, below), values.gather(-1, above)
    done, total = reached.gather(-1, below), reached.gather(-1, above)
    share = torch.where(above > below, (half - done) / (total - done), 0)
    return torch.lerp(low, high, share).squeeze(-1)
