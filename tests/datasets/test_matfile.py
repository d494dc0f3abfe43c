"""MAT files: what SciPy writes is read back, and damage is one clear line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import savemat

from vidaff.datasets.matfile import read_mat
from vidaff.errors import VidaffError

TYPES = [np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64]
arrays = st.sampled_from(TYPES).flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=2, max_dims=3)))


@given(array=arrays, other=arrays, text=st.sampled_from(["manual", "automatic", "größer"]), packed=st.booleans())
def test_what_scipy_writes_is_read_back(
    array: np.ndarray, other: np.ndarray, text: str, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    savemat(path, {"other": other, "gt_label": array, "gt_type": text, "cell": {"a": 1}}, do_compression=packed)
    found = read_mat(path, ("gt_label", "gt_type"))
    assert found["gt_type"] == text and set(found) == {"gt_label", "gt_type"}
    label = found["gt_label"]
    assert isinstance(label, np.ndarray) and label.dtype == array.dtype
    assert np.array_equal(label, array, equal_nan=array.dtype.kind == "f")


def big_endian(array: np.ndarray) -> bytes:
    """A level 5 file of ``gt_label`` as a machine of the other byte order wrote it."""
    flags = struct.pack(">IIII", 6, 8, 11, 0)
    dims = struct.pack(">IIii", 5, 8, *array.shape)
    name = struct.pack(">II8s", 1, 8, b"gt_label")
    data = array.T.astype(">u2").tobytes()
    matrix = flags + dims + name + struct.pack(">II", 4, len(data)) + data + b"\0" * (-len(data) % 8)
    return b"MATLAB 5.0".ljust(124) + b"\1\0MI" + struct.pack(">II", 14, len(matrix)) + matrix


def test_the_other_byte_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    (tmp_path / "a.mat").write_bytes(big_endian(array))
    assert np.array_equal(read_mat(tmp_path / "a.mat", ("gt_label",))["gt_label"], array)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"x": np.eye(2)})
    assert read_mat(tmp_path / "a.mat", ("gt_label",)) == {}


def bomb() -> bytes:
    """A compressed variable that claims, and would inflate to, half a gigabyte."""
    size = 2**29
    matrix = struct.pack("<II", 14, size) + struct.pack("<IIII", 6, 8, 9, 0) + struct.pack("<IIii", 5, 8, 1, size - 64)
    matrix += struct.pack("<II8s", 1, 8, b"gt_label") + struct.pack("<II", 2, size - 64)
    packed = zlib.compress(matrix + bytes(2**20))
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed


def test_damage_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"gt_label": np.ones((9, 9), np.uint8)}, do_compression=True)
    whole = path.read_bytes()
    cases = {
        b"": "not a MAT file of level 5", whole[:100]: "not a MAT file of level 5", whole[:-8]: "damaged",
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM": "version 7.3", bomb(): "512 MiB",
    }  # fmt: skip
    for data, message in cases.items():
        path.write_bytes(data)
        with pytest.raises(VidaffError, match=message):
            read_mat(path, ("gt_label",))
    with pytest.raises(VidaffError, match="cannot be read"):
        read_mat(tmp_path / "none.mat", ("gt_label",))
    savemat(path, {"gt_label": np.array([[{}]], object)})
    with pytest.raises(VidaffError, match="no array of numbers"):
        read_mat(path, ("gt_label",))


@given(position=st.integers(128, 400), noise=st.binary(min_size=1, max_size=12))
def test_noise_gives_values_or_one_clear_line(
    position: int, noise: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    savemat(path, {"gt_label": np.ones((9, 9), np.uint8), "gt_type": "manual"})
    data = path.read_bytes()
    path.write_bytes(data[:position] + noise + data[position + len(noise) :])
    try:
        read_mat(path, ("gt_label", "gt_type"))
    except VidaffError as error:
        assert "damaged" in str(error)
