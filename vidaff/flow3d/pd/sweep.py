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
from numba import njit

from vidaff.flow3d.pd.denormals import flush_denormals, restore_denormals

# Any: numba's functions take and give plain and NumPy scalars alike.
kernel: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "arcp", "nsz", "afn"})

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


@kernel
def _data_dual(p: Any, t: Any, zu: Any, zv: Any, u: Any, v: Any, w: Any, shrink: Any) -> None:
    for x in range(p.shape[0]):
        value = p[x] + (t[x] + zu[x] * u[x] + zv[x] * v[x] - w[x]) * shrink[x]
        p[x] = min(max(value, np.float32(-1)), np.float32(1))


@kernel
def _smooth_dual(px: Any, py: Any, bar: Any, right: Any, below: Any, r: Any, flux: Any) -> None:
    """Dual step of one unknown, and its flux ``r`` px; ``right``: the row from its second pixel on.

    The last column keeps gradient 0 in x, and has no flux (r is 0 there).
    """
    last = right.shape[0]
    half: Any = np.float32(0.5)
    one: Any = np.float32(1)
    for x in range(last):
        a = px[x] + half * (right[x] - bar[x])
        b = py[x] + half * (below[x] - bar[x])
        scale = one / max(one, math.sqrt(a * a + b * b))
        px[x] = a * scale
        py[x] = b * scale
        flux[x] = r[x] * (a * scale)
    a = px[last]
    b = py[last] + half * (below[last] - bar[last])
    scale = one / max(one, math.sqrt(a * a + b * b))
    px[last] = a * scale
    py[last] = b * scale
    flux[last] = np.float32(0)


@kernel
def _divergence(out: Any, flux: Any, left: Any, r: Any, p: Any, r_up: Any, p_up: Any) -> None:
    """``left``: the flux of the pixel to the left, 0 in the first column."""
    for x in range(out.shape[0]):
        out[x] = (flux[x] - left[x]) + (r[x] * p[x] - r_up[x] * p_up[x])


@kernel
def _primal_uv(
    u: Any, v: Any, ub: Any, vb: Any, p: Any, du: Any, dv: Any, mu: Any, zu: Any, zv: Any,
    tu: Any, tv: Any, it: Any, iu: Any, iv: Any, shrink: Any, inverse: Any,
) -> None:  # fmt: skip
    for x in range(u.shape[0]):
        pull = mu[x] * p[x]
        a = u[x] - tu[x] * (pull * zu[x] - du[x])
        b = v[x] - tv[x] * (pull * zv[x] - dv[x])
        s = (it[x] + iu[x] * a + iv[x] * b) * shrink[x]
        s = min(max(s, np.float32(-1)), np.float32(1)) * inverse
        a -= tu[x] * iu[x] * s
        b -= tv[x] * iv[x] * s
        ub[x] = a + a - u[x]
        vb[x] = b + b - v[x]
        u[x] = a
        v[x] = b


@kernel
def _primal_w(w: Any, wb: Any, p: Any, dw: Any, mu: Any, tw: Any, ratio: Any) -> None:
    for x in range(w.shape[0]):
        a = w[x] + tw[x] * (ratio * mu[x] * p[x] + dw[x])
        wb[x] = a + a - w[x]
        w[x] = a


@kernel
def _row(s: Any, c: Any, y: int, cy: int, top: bool, bottom: bool, scratch: Any, lambda_i: Any, lambda_d: Any) -> None:
    """One iteration on row ``y`` of the state ``s`` and row ``cy`` of the constants ``c``."""
    below = y if bottom else y + 1
    width = s.shape[2]
    _data_dual(s[P_D, y], c[Z_T, cy], c[Z_U, cy], c[Z_V, cy], s[U_BAR, y], s[V_BAR, y], s[W_BAR, y], c[SHRINK_D, cy])
    # Flux of the column left of each pixel: the same row of memory, one place on.
    flux, left = scratch[3, 1 : width + 1], scratch[3, :width]
    for k in range(3):
        px, py, bar = s[P_UX + 2 * k, y], s[P_UY + 2 * k, y], s[U_BAR + k, y]
        _smooth_dual(px, py, bar, bar[1:], s[U_BAR + k, below], c[R_X, cy], flux)
        r_up, p_up = (scratch[4, :width], scratch[4, :width]) if top else (c[R_Y, cy - 1], s[P_UY + 2 * k, y - 1])
        _divergence(scratch[k, :width], flux, left, c[R_Y, cy], py, r_up, p_up)
    _primal_uv(
        s[U, y], s[V, y], s[U_BAR, y], s[V_BAR, y], s[P_D, y], scratch[0, :width], scratch[1, :width],
        c[MU_X, cy], c[Z_U, cy], c[Z_V, cy], c[TAU_U, cy], c[TAU_V, cy],
        c[I_T, cy], c[I_U, cy], c[I_V, cy], c[SHRINK_I, cy], np.float32(1) / lambda_i,
    )  # fmt: skip
    _primal_w(s[W, y], s[W_BAR, y], s[P_D, y], scratch[2, :width], c[MU_X, cy], c[TAU_W, cy], lambda_i / lambda_d)


@kernel
def sweep(s: Any, c: Any, first: int, iterations: int, lambda_i: Any, lambda_d: Any) -> None:
    """Run ``iterations`` on the rows of ``s`` (13, h, W) float32, which are rows ``first`` ... of ``c`` (14, H, W).

    Rows of ``s`` beside a cut (not the picture's own border) are wrong afterwards, one more for every iteration.
    """
    old = flush_denormals()
    rows = s.shape[1]
    # Three divergences, a flux with a 0 in front, and a row of zeros above the picture.
    scratch = np.zeros((5, s.shape[2] + 1), np.float32)
    for step in range(rows + iterations - 1):
        for k in range(max(0, step - rows + 1), min(iterations, step + 1)):
            y = step - k
            cy = first + y
            # At a cut the missing neighbour is treated as at a border: wrong, and thrown away later.
            _row(s, c, y, cy, y == 0, y == rows - 1, scratch, lambda_i, lambda_d)
    restore_denormals(old)
