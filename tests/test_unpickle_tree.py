"""Dictionaries of arrays and tensors out of ``.npy`` and ``.pth`` files, without running what a pickle asks for."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidaff.errors import VidaffError
from vidaff.unpickle import load_tree

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=5)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


class Hostile:
    """Runs a shell command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def save(path: Path, tree: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, np.array(tree, object) if not isinstance(tree, list) else _boxed(tree), allow_pickle=True)
    else:
        torch.save(tree, path)
    return path


def _boxed(tree: Any) -> np.ndarray:
    box = np.empty((), object)
    box[()] = tree
    return box


@FRESH
@given(TREES)
@pytest.mark.parametrize("name", ["a.npy", "a.pth"])
def test_plain_trees_come_out_as_they_went_in(tmp_path: Path, name: str, tree: Any) -> None:
    assert load_tree(save(tmp_path / name, {"tree": tree})) == {"tree": tree}


def test_tensors_become_arrays(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    tree = {
        "view": base[1:3, ::2], "turned": base.T, "scalar": torch.tensor(0.5, dtype=torch.float64), "empty": base[:0],
        "half": base.half(), "list": [torch.tensor([1, 2]), (torch.tensor([True]),)], "shape": base.shape,
        "weight": torch.nn.Parameter(base), "array": np.arange(3), "number": np.float32(1.5),
    }  # fmt: skip
    found = load_tree(save(tmp_path / "a.pth", tree))
    for key in ("view", "turned", "scalar", "empty", "half"):
        assert np.array_equal(found[key], tree[key].numpy()) and found[key].shape == tuple(tree[key].shape)
    assert found["list"][0].tolist() == [1, 2] and found["list"][1][0].tolist() == [True]
    assert found["shape"] == (4, 6) and found["array"].tolist() == [0, 1, 2] and found["number"] == 1.5
    assert np.array_equal(found["weight"], base.numpy())


def test_plain_arrays_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    assert np.array_equal(load_tree(tmp_path / "a.npy"), np.eye(3))


@pytest.mark.parametrize("name", ["a.npy", "a.pth"])
@pytest.mark.parametrize("wrap", [lambda bad: {"a": bad}, lambda bad: [[bad]]])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, name: str, wrap: Any) -> None:
    proof = tmp_path / "proof"
    path = save(tmp_path / name, wrap(Hostile(proof)))
    if name == "a.npy":
        np.load(path, allow_pickle=True)
        assert proof.exists()  # or the refusal below would prove nothing
        proof.unlink()
    with pytest.raises(VidaffError, match=r"refused, because this pickle asks for posix\.system"):
        load_tree(path)
    assert not proof.exists()


@pytest.mark.parametrize("change", ["attribute", "self", "deep", "class"])
def test_odd_pickles_are_refused(tmp_path: Path, change: str) -> None:
    endless: list = []
    endless.append(endless)
    deep: Any = 0
    for _ in range(100):
        deep = [deep]
    tree = {"self": endless, "deep": deep, "class": Path, "attribute": pickle.PickleBuffer}[change]
    with pytest.raises(VidaffError, match="refused"):
        load_tree(save(tmp_path / "a.pth", {"a": tree}))


def test_an_archive_cannot_blow_up(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, tmp_path / "a.pth")
    with pytest.raises(VidaffError, match="more numbers than it holds"):
        load_tree(tmp_path / "a.pth")
    save(tmp_path / "b.pth", {"a": torch.zeros(1000)})
    with (
        zipfile.ZipFile(tmp_path / "b.pth") as old,
        zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    with pytest.raises(VidaffError, match="compressed content"):
        load_tree(tmp_path / "c.pth")


def test_files_that_are_none(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name, match in (("old.pth", r"PyTorch 1\.6"), ("missing.pth", "cannot be read"), ("text.npy", r"PyTorch 1\.6")):
        if name == "text.npy":
            (tmp_path / name).write_text("hello")
        with pytest.raises(VidaffError, match=match):
            load_tree(tmp_path / name)
    with pytest.raises(VidaffError, match="refused as a pickle"):
        load_tree(tmp_path / "old.pth", max_bytes=10)


@FRESH
@given(st.data())
@pytest.mark.parametrize("name", ["a.npy", "a.pth"])
def test_damage_ends_in_one_kind_of_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = save(tmp_path / name, {"a": [torch.ones(3).numpy(), {"b": np.float32(2)}]}).read_bytes()
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if broken:
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(broken)
    try:
        load_tree(tmp_path / name)
    except VidaffError as error:
        assert str(tmp_path / name) in str(error)
