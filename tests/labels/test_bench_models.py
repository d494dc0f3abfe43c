"""The benchmark of the labelling's networks: what it does around them."""

from __future__ import annotations

import numpy as np
import pytest

from vidaff.errors import VidaffError
from vidaff.labels import bench_models
from vidaff.labels.bench_models import NAMES, child, measured, models_table
from vidaff.labels.bench_networks import MODELS, Built, Many, Model


def test_all_networks_have_a_name() -> None:
    assert tuple(MODELS) == NAMES


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(VidaffError, match="'steam'"):
        models_table(["steam"])


def test_networks_that_need_more_memory_than_there_is_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_models, "available_gib", lambda: 0.5)
    monkeypatch.setattr(bench_models, "libraries_mib", lambda: 7.0)
    lines = models_table(["sam-h", "refine"]).splitlines()
    assert "left out: it needs about 8 GiB of memory, 0.5 are free" in lines[2]
    assert lines[0].count("|") == lines[2].count("|") == lines[3].count("|")


def test_every_call_sees_another_picture_and_the_first_is_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    cost = measured("task", seen.append, "cpu", 3)
    assert len(seen) == 4
    assert not np.array_equal(seen[1], seen[2])
    assert seen[0].shape == (480, 640, 3)
    monkeypatch.setattr(bench_models, "SLOW_S", -1.0)
    seen.clear()
    measured("slow", seen.append, "cpu", 3)
    assert len(seen) == 2
    assert cost.what == "task"


def test_a_task_of_many_pictures_counts_each() -> None:
    def burn(image: np.ndarray) -> None:
        import time

        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    assert measured("all", Many(burn, 10), "cpu", 1).cpu < 0.5 * measured("one", burn, "cpu", 1).cpu


def test_a_child_says_what_it_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    held: list[np.ndarray] = []
    task = lambda image: held.append(np.ones(2**25, np.uint8))  # noqa: E731
    monkeypatch.setitem(MODELS, "refine", Model("x", 0.0, lambda device: Built(5, {"fill": task})))
    child("refine", None, "cpu", 2)
    found = bench_models.json.loads(capsys.readouterr().out.removeprefix(bench_models.RESULT))
    assert found["parameters"] == 5
    assert [row[0] for row in found["tasks"]] == ["fill"]
    assert found["memory"][1] > 60
