"""Scene flow where programs break: several threads, forked processes, odd installations, numbers beyond float32."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flow3d.scenes import ball_pair
from vidaff.flow3d import METHODS, Intrinsics, SceneFlow, scene_flow
from vidaff.flow3d.analytic import Pair
from vidaff.flow3d.api import Method, make_method
from vidaff.flow3d.inputs import grey_image
from vidaff.flow3d.pd.threads import run_all

LIFTED = ("dis", "dis-still", "pd", "pd-dis")
ONE_CALL = """
import sys, warnings
import numpy as np
from vidaff.flow3d import Intrinsics, scene_flow
rng = np.random.default_rng(0)
grey, depth = rng.integers(0, 256, (2, 18, 20), dtype=np.uint8), rng.uniform(0.5, 1, (2, 18, 20))
flow, valid = scene_flow(grey[0], depth[0], grey[1], depth[1], Intrinsics(50, 50, 12, 10), method=sys.argv[1])
np.save(sys.argv[2], flow)
"""


def call_elsewhere(method: str, file: Path, **environment: str) -> np.ndarray:
    """Flow of a small pair as a fresh process computes it."""
    command = [sys.executable, "-c", ONE_CALL, method, str(file)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1000:]
    result: np.ndarray = np.load(file)
    return result


def _share_methods() -> None:
    pairs = [ball_pair(96, 160), ball_pair(120, 110, move=(0.0, 0.03, 0.01))]
    for name in (*LIFTED, "dis2d"):
        flow_of = partial(_flow_by, make_method(name, pairs[0].intrinsics), pairs)
        expected = [flow_of(0), flow_of(1)]
        with ThreadPoolExecutor(4) as pool:
            for index, flow in enumerate(pool.map(flow_of, range(12))):
                np.testing.assert_array_equal(flow, expected[index % 2], name)


def _flow_by(solver: Method, pairs: list[Pair], index: int) -> np.ndarray:
    pair = pairs[index % 2]
    first, second = (grey_image(rgb, "rgb") for rgb in (pair.rgb0, pair.rgb1))
    return solver.between(solver.prepare(first, pair.depth0), solver.prepare(second, pair.depth1)).flow


def test_threads_may_share_a_method() -> None:
    # In a process of its own: one OpenCV solver in two threads at once may end it.
    child = multiprocessing.get_context("spawn").Process(target=_share_methods)
    child.start()
    child.join(240)
    assert child.exitcode == 0


def _sum_of_two(answers: Any) -> None:
    seen: list[int] = []
    run_all([partial(seen.append, 1), partial(seen.append, 2)], 2)
    answers.put(sum(seen))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork")
def test_threads_work_in_a_process_forked_after_their_use() -> None:
    run_all([int, int], 2)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_sum_of_two, args=(answers,))
    child.start()
    child.join(20)
    ended = not child.is_alive()
    child.kill()
    assert ended
    assert answers.get() == 3


def test_an_installation_that_cannot_keep_compiled_code_works(tmp_path: Path) -> None:
    # Numba then finds no folder at all, as for a package owned by root and a home that cannot be written.
    nowhere = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator", "NUMBA_CACHE_DIR": "/dev/null/none"}
    code = "from vidaff.flow3d.pd import sweep, denormals; print(sweep.kernel(lambda x: x + 1)(1))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "2\n", done.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pd", "pd-dis"])
def test_kernels_run_as_plain_python(method: str, tmp_path: Path) -> None:
    plain = call_elsewhere(method, tmp_path / "plain.npy", NUMBA_DISABLE_JIT="1")
    np.testing.assert_allclose(plain, call_elsewhere(method, tmp_path / "compiled.npy"), atol=1e-4)


@pytest.mark.parametrize("field", ["fx", "fy", "cx", "cy"])
@pytest.mark.parametrize("value", [1e39, 1e300, 1e-300, 5e-324])
def test_cameras_beyond_float32_are_refused(field: str, value: float) -> None:
    good = {"fx": 60.0, "fy": 60.0, "cx": 20.0, "cy": 15.0}
    if field.startswith("c") and value < 1:
        assert getattr(Intrinsics(**{**good, field: value}), field) == value
        return
    with pytest.raises(ValueError, match=field):
        Intrinsics(**{**good, field: value})


@settings(max_examples=30, deadline=None)
@pytest.mark.filterwarnings("error")
@given(
    focal=st.tuples(*[st.floats(-3, 9).map(lambda power: 10**power)] * 2),
    centre=st.tuples(*[st.floats(-1e9, 1e9)] * 2),
    method=st.sampled_from(sorted(METHODS)),
    far=st.sampled_from([0.05, 1.0, 40.0]),
)
def test_any_camera_gives_finite_flow(
    focal: tuple[float, float], centre: tuple[float, float], method: str, far: float
) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (2, 24, 31), dtype=np.uint8)
    depth = far * rng.uniform(0.5, 1, (2, 24, 31))
    flow, valid = scene_flow(grey[0], depth[0], grey[1], depth[1], Intrinsics(*focal, *centre), method=method)
    assert np.isfinite(flow).all()
    assert not flow[~valid].any()


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("shape", [(1, 32767), (40000, 2)])
def test_sides_that_opencv_cannot_address_are_refused(shape: tuple[int, int], method: str) -> None:
    grey, depth = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
    with pytest.raises(ValueError, match=r"rgb0.*32766"):
        scene_flow(grey, depth, grey, depth, Intrinsics(60, 60, 0, 0), method=method)


@pytest.mark.parametrize("scale", ["1000", [1000], np.array([1000, 1000]), True, 1 + 1j])
def test_a_depth_scale_that_is_no_number_is_named(scale: Any) -> None:
    grey, depth = np.zeros((20, 30), np.uint8), np.full((20, 30), 900, np.uint16)
    with pytest.raises(ValueError, match="depth_scale"):
        scene_flow(grey, depth, grey, depth, Intrinsics(60, 60, 0, 0), depth_scale=scale)


@pytest.mark.parametrize("method", LIFTED)
def test_settings_tell_of_the_linear_lift(method: str) -> None:
    camera = Intrinsics(60, 60, 0, 0)
    plain, linear = (SceneFlow(camera, method, linear_lift=linear).settings() for linear in (False, True))
    assert linear == {**plain, "linear_lift": True}
    assert "linear_lift" not in plain


@pytest.mark.parametrize("flush", [False, True])
def test_torch_keeps_its_treatment_of_denormal_numbers(flush: bool) -> None:
    pair = ball_pair(48, 64)
    if not torch.set_flush_denormal(flush):
        pytest.skip("this processor cannot flush")
    try:
        scene_flow(pair.rgb0, pair.depth0, pair.rgb1, pair.depth1, pair.intrinsics, backend="torch")
        assert ((torch.tensor(1e-40) * 1).item() == 0) is flush
    finally:
        torch.set_flush_denormal(False)
