"""The restricted unpickler: arrays of Python 2 and 3 come out, and nothing that a pickle asks for is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidaff.errors import VidaffError
from vidaff.unpickle import load_array

LABELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
    b"(K\x01K\x03K\x04\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff"
    b"\xff\xffK\x00tb\x89U\x0c" + LABELS.tobytes() + b"tb."
)
"""What Python 2's cPickle writes for :data:`LABELS`, byte for byte."""


class Hostile:
    """Runs a shell command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def test_an_array_of_python_2(tmp_path: Path) -> None:
    (tmp_path / "a.sm").write_bytes(PYTHON_2)
    assert np.array_equal(load_array(tmp_path / "a.sm"), LABELS)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("array", [LABELS, np.asfortranarray(LABELS), LABELS.astype(">i4"), LABELS[0].astype(float)])
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int, array: np.ndarray) -> None:
    (tmp_path / "a.sm").write_bytes(pickle.dumps(array, protocol=protocol))
    found = load_array(tmp_path / "a.sm")
    assert np.array_equal(found, array) and found.dtype == array.dtype


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: [bad], lambda bad: np.array([bad], object)])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, wrap: object) -> None:
    proof = tmp_path / "proof"
    data = pickle.dumps(wrap(Hostile(proof)), protocol=2)  # type: ignore[operator]
    pickle.loads(data)
    assert proof.exists()  # or the refusal below would prove nothing
    proof.unlink()
    (tmp_path / "a.sm").write_bytes(data)
    with pytest.raises(VidaffError, match=r"a\.sm: refused, because this pickle asks for posix\.system"):
        load_array(tmp_path / "a.sm")
    assert not proof.exists()


CASES = {
    "empty": (b"", "damaged"),
    "truncated": (PYTHON_2[:-20], "damaged"),
    "no array": (pickle.dumps({"a": 1}), "holds no array but dict"),
    "a name of NumPy": (b"cnumpy\nload\n(S'/etc/passwd'\ntR.", "asks for numpy.load"),
    "objects": (pickle.dumps(np.array([None], object), protocol=2), "asks for an array of anything but numbers"),
    "too few bytes": (PYTHON_2.replace(b"K\x03K\x04\x86", b"K\x03K\x05\x86"), r"shape \(3, 5\) with 12 bytes"),
    "a huge shape": (PYTHON_2.replace(b"K\x03K\x04\x86", b"J\xff\xff\xff\x7fK\x04\x86"), "with 12 bytes"),
    "changing a builder": (b"\x80\x02cnumpy\nndarray\n}U\x01aU\x01bsb.", "asks for changing a builder"),
    "a memo of gigabytes": (b"\x80\x02K\x00r\xff\xff\xff\x7f.", "holds no array but int"),
    "a persistent object": (b"Pkey\n.", "a persistent object"),
    "another codec": (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x05rot13\x86R.", "the encoding 'rot13'"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_plain_array_is_one_clear_line(tmp_path: Path, case: str) -> None:
    data, message = CASES[case]
    (tmp_path / "a.sm").write_bytes(data)
    with pytest.raises(VidaffError, match=message):
        load_array(tmp_path / "a.sm")


def test_size_is_limited_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.sm").write_bytes(PYTHON_2)
    with pytest.raises(VidaffError, match="refused as a pickled array"):
        load_array(tmp_path / "a.sm", max_bytes=100)
    with pytest.raises(VidaffError, match="cannot be read"):
        load_array(tmp_path / "b.sm")


@given(array=hnp.arrays(st.sampled_from([np.uint8, np.int16, np.float32]), hnp.array_shapes(max_dims=3, max_side=5)))
def test_any_array_survives(array: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sm") / "a.sm"
    path.write_bytes(pickle.dumps(array, protocol=2))
    assert np.array_equal(load_array(path), array, equal_nan=array.dtype.kind == "f")


@given(noise=st.binary(max_size=60), position=st.integers(0, len(PYTHON_2)))
def test_noise_gives_an_array_or_one_clear_line(
    noise: bytes, position: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sm") / "a.sm"
    path.write_bytes(PYTHON_2[:position] + noise + PYTHON_2[position + len(noise) :])
    try:
        assert isinstance(load_array(path), np.ndarray)
    except VidaffError as error:
        assert "\n" not in str(error)
