"""The primal-dual iteration on one pyramid level, as numba row kernels.

Rows are swept from top to bottom, in place: the dual step of row y reads the extrapolated primal of rows y and y + 1,
the primal step reads the duals of rows y and y - 1, so one pass equals a full (Jacobi) iteration. Iteration k + 1 may
take row y - 1 as soon as iteration k has left row y; a block of iterations therefore runs as a skewed wave front whose
few rows stay in the cache. Threads work on bands of rows with private borders that the block spoils, one row an
iteration, and that are fetched anew from the neighbouring bands afterwards.

Source: Jaimez et al., "A Primal-Dual Framework for Real-Time Dense RGB-D Scene Flow", ICRA 2015; Chambolle & Pock's
algorithm with diagonal preconditioning and extrapolation 1. Ours: iterating on total motions instead of increments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vidaff.flow3d.pd.compiling import kernel
from vidaff.flow3d.pd.denormals import flush_denormals, restore_denormals

U, V, W, U_BAR, V_BAR, W_BAR, P_D, P_UX, P_UY, P_VX, P_VY, P_WX, P_WY = range(13)
"""Planes of the state (13, H, W): totals, their extrapolations, duals."""
STATE_PLANES = 13
DUALS = slice(P_D, STATE_PLANES)

I_T, I_U, I_V, Z_T, Z_U, Z_V, R_X, R_Y, TAU_U, TAU_V, TAU_W, MU_X, SHRINK_D, SHRINK_I = range(14)
"""Planes of the constants (14, H, W).

``I_T``, ``Z_T`` belong to totals: what the linear model gives at motion 0. ``TAU_U``, ``TAU_V`` are multiplied by
lambda_i, ``TAU_W`` by lambda_d, ``MU_X`` divided by lambda_i. ``SHRINK_D`` = 1 / (1 + |Z_u| + |Z_v|), ``SHRINK_I`` =
1 / (tau_u I_u^2 + tau_v I_v^2). ``R_X`` is 0 in the last column, ``R_Y`` in the last row: there is no flux across.
"""
CONSTANT_PLANES = 14


# The loops below index whole arrays: a slice for every row would cost as much as the row itself. Rows are unsigned,
# because a signed index is tested for being negative, and the test keeps a loop scalar.


@kernel
def _data_dual(s: Any, c: Any, y: Any, cy: Any) -> None:
    for x in range(s.shape[2]):
        gap = c[Z_T, cy, x] + c[Z_U, cy, x] * s[U_BAR, y, x] + c[Z_V, cy, x] * s[V_BAR, y, x] - s[W_BAR, y, x]
        value = s[P_D, y, x] + gap * c[SHRINK_D, cy, x]
        s[P_D, y, x] = min(max(value, np.float32(-1)), np.float32(1))


@kernel
def _smooth_dual(s: Any, c: Any, k: Any, y: Any, cy: Any, below: Any, flux: Any) -> None:
    """Dual step of unknown ``k`` and its flux r_x p_x, written one place to the right of a zero.

    The last column keeps gradient 0 in x, and has no flux (r_x is 0 there).
    """
    last = s.shape[2] - 1
    bar, p = np.uintp(U_BAR + k), np.uintp(P_UX + 2 * k)
    q = np.uintp(p + np.uintp(1))
    half: Any = np.float32(0.5)
    one: Any = np.float32(1)
    for x in range(last):
        here = s[bar, y, x]
        a = s[p, y, x] + half * (s[bar, y, np.uintp(x + 1)] - here)
        b = s[q, y, x] + half * (s[bar, below, x] - here)
        scale = one / max(one, math.sqrt(a * a + b * b))
        a *= scale
        s[p, y, x] = a
        s[q, y, x] = b * scale
        flux[np.uintp(x + 1)] = c[R_X, cy, x] * a
    a = s[p, y, last]
    b = s[q, y, last] + half * (s[bar, below, last] - s[bar, y, last])
    scale = one / max(one, math.sqrt(a * a + b * b))
    s[p, y, last] = a * scale
    s[q, y, last] = b * scale
    flux[last + 1] = 0


@kernel
def _divergence(s: Any, c: Any, k: Any, y: Any, cy: Any, flux: Any, out: Any) -> None:
    q = np.uintp(P_UY + 2 * k)
    if y == 0:
        for x in range(s.shape[2]):
            out[k, x] = flux[np.uintp(x + 1)] - flux[x] + c[R_Y, cy, x] * s[q, y, x]
        return
    up, cup = np.uintp(y - 1), np.uintp(cy - 1)
    for x in range(s.shape[2]):
        down = c[R_Y, cy, x] * s[q, y, x] - c[R_Y, cup, x] * s[q, up, x]
        out[k, x] = flux[np.uintp(x + 1)] - flux[x] + down


@kernel
def _primal_uv(s: Any, c: Any, y: Any, cy: Any, divergence: Any, inverse: Any) -> None:
    for x in range(s.shape[2]):
        pull = c[MU_X, cy, x] * s[P_D, y, x]
        tu, tv, iu, iv = c[TAU_U, cy, x], c[TAU_V, cy, x], c[I_U, cy, x], c[I_V, cy, x]
        u, v = s[U, y, x], s[V, y, x]
        a = u - tu * (pull * c[Z_U, cy, x] - divergence[0, x])
        b = v - tv * (pull * c[Z_V, cy, x] - divergence[1, x])
        step = (c[I_T, cy, x] + iu * a + iv * b) * c[SHRINK_I, cy, x]
        step = min(max(step, np.float32(-1)), np.float32(1)) * inverse
        a -= tu * iu * step
        b -= tv * iv * step
        s[U_BAR, y, x] = a + a - u
        s[V_BAR, y, x] = b + b - v
        s[U, y, x] = a
        s[V, y, x] = b


@kernel
def _primal_w(s: Any, c: Any, y: Any, cy: Any, divergence: Any, ratio: Any) -> None:
    for x in range(s.shape[2]):
        w = s[W, y, x]
        a = w + c[TAU_W, cy, x] * (ratio * c[MU_X, cy, x] * s[P_D, y, x] + divergence[2, x])
        s[W_BAR, y, x] = a + a - w
        s[W, y, x] = a


@kernel
def _row(s: Any, c: Any, y: Any, cy: Any, flux: Any, divergence: Any, lambda_i: Any, lambda_d: Any) -> None:
    """One iteration on row ``y`` of the state ``s`` and row ``cy`` of the constants ``c``."""
    # At a cut the missing neighbour is treated as at a border: wrong, and thrown away later.
    below = np.uintp(min(y + 1, s.shape[1] - 1))
    _data_dual(s, c, y, cy)
    for k in range(3):
        _smooth_dual(s, c, k, y, cy, below, flux)
        _divergence(s, c, k, y, cy, flux, divergence)
    _primal_uv(s, c, y, cy, divergence, np.float32(1) / lambda_i)
    _primal_w(s, c, y, cy, divergence, lambda_i / lambda_d)


@kernel
def sweep(s: Any, c: Any, first: int, iterations: int, lambda_i: Any, lambda_d: Any) -> None:
    """Run ``iterations`` on the rows of ``s`` (13, h, W) float32, which are rows ``first`` ... of ``c`` (14, H, W).

    Rows of ``s`` beside a cut (not the picture's own border) are wrong afterwards, one more for every iteration.
    """
    old = flush_denormals()
    rows = s.shape[1]
    divergence, flux = np.empty((3, s.shape[2]), np.float32), np.zeros(s.shape[2] + 1, np.float32)
    for step in range(rows + iterations - 1):
        for k in range(max(0, step - rows + 1), min(iterations, step + 1)):
            y = step - k
            _row(s, c, np.uintp(y), np.uintp(first + y), flux, divergence, lambda_i, lambda_d)
    restore_denormals(old)
