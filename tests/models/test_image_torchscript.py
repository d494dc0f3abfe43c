"""The reader of TorchScript archives: what torch writes comes back, and hostile files run nothing."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.models.image_models import rewrite_entry, save_archive
from vidaff.errors import VidaffError
from vidaff.models.image import torchscript
from vidaff.models.image.torchscript import is_zip, read_torchscript


class Odd(torch.nn.Module):
    """Tensors of many types and layouts, and attributes that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.ModuleList([torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)])
        base = torch.arange(24.0).reshape(4, 6)
        self.register_buffer("b_slice", base[1:, ::2])
        self.register_buffer("b_turned", base.T)
        self.register_buffer("b_nothing", torch.empty(0, 3))
        self.register_buffer("b_scalar", torch.tensor(7))
        self.register_buffer("b_half", torch.randn(3).half())
        self.register_buffer("b_brain", torch.randn(3).bfloat16())
        self.register_buffer("b_flags", torch.tensor([True, False]))
        self.number, self.name = 3, "x"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "odd.pt"
    torch.jit.save(torch.jit.trace(Odd(), torch.ones(1)), path)
    return path


def test_every_tensor_comes_back(archive: Path) -> None:
    expected = torch.jit.load(archive).state_dict()
    found = read_torchscript(archive)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous()


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_is_not_run(archive: Path, tmp_path: Path) -> None:
    rewrite_entry(archive, "data.pkl", pickle.dumps({"visual": RunsCode(tmp_path / "ran")}))
    with pytest.raises(VidaffError, match=r"refused, because this archive asks for (posix|nt).mkdir"):
        read_torchscript(archive)
    assert not (tmp_path / "ran").exists()


PROGRAMS = {
    "eval": b"cbuiltins\neval\n(V1+1\ntR.",
    "a module that contains itself": b"c__torch__\nA\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00ub.",
    "a changed builder": b"ctorch._utils\n_rebuild_tensor_v2\n}X\x06\x00\x00\x00_buildK\x01sb.",
    "a module without a table": b"c__torch__\nA\n)\x81K\x05b.",
    "an unknown persistent object": b"X\x01\x00\x00\x00xQ.",
    "a tensor without numbers": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00)))tR.",
    "a list of everything": b"ctorch.jit\nload\n.",
    "nothing": b".",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_hostile_pickles_are_refused(archive: Path, program: bytes) -> None:
    rewrite_entry(archive, "data.pkl", program)
    with pytest.raises(VidaffError, match=r"refused|not readable"):
        read_torchscript(archive)


def test_names_beyond_their_numbers_are_refused(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        numbers = next(name for name in file.namelist() if name.endswith("data/0"))
    rewrite_entry(archive, numbers, b"\0\0")
    with pytest.raises(VidaffError, match="cut short"):
        read_torchscript(archive)


def test_compressed_content_is_refused(archive: Path) -> None:
    rewrite_entry(archive, "data/0", b"\0" * 100_000, compress=True)
    with pytest.raises(VidaffError, match="compressed or oversized"):
        read_torchscript(archive)


def test_limits(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchscript, "MAX_BYTES", 10)
    with pytest.raises(VidaffError, match="more than"):
        read_torchscript(archive)


def test_what_is_no_archive(tmp_path: Path) -> None:
    assert not is_zip(tmp_path)
    assert not is_zip(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    assert not is_zip(tmp_path / "text")
    for name in ("text", "nothing"):
        with pytest.raises(VidaffError):
            read_torchscript(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a", "b")
    with pytest.raises(VidaffError, match=r"no data\.pkl"):
        read_torchscript(tmp_path / "other.zip")


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    save_archive(path)
    return path.read_bytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_one_line(clip_bytes: bytes, tmp_path: Path, data: st.DataObject) -> None:
    start = clip_bytes.index(b"__torch__")
    place = data.draw(st.integers(max(0, start - 64), start + 4000))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    path = tmp_path / "damaged.pt"
    path.write_bytes(clip_bytes[:place] + damage + clip_bytes[place + len(damage) :])
    try:
        read_torchscript(path)
    except VidaffError as error:
        assert "\n" not in str(error)
