"""Frames and depth in, videos out: all kinds of sources, thinning, damage, files that appear whole or not at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidaff.errors import VidaffError
from vidaff.io import read_depth_image, read_image, read_label_image, write_image
from vidaff.media import BACKENDS, VideoWriter, open_depth, open_frames, paired

backends = pytest.mark.parametrize("backend", BACKENDS)


def shade(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A grey frame whose brightness is its number."""
    return np.full((*size, 3), 20 + 5 * number, np.uint8)


def numbers(frames: object) -> list[int]:
    return [round((float(frame.mean()) - 20) / 5) for frame in frames]  # type: ignore[attr-defined]


def write_video(path: Path, count: int = 30, fps: float = 30, size: tuple[int, int] = (48, 64)) -> Path:
    with VideoWriter(path, fps, size) as video:
        for number in range(count):
            video.write(shade(number, size))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(12):
        write_image(tmp_path / "frames" / f"{number}.png", shade(number))
    (tmp_path / "frames" / "notes.txt").write_text("x")
    return tmp_path / "frames"


# Frames


@backends
def test_a_video_comes_back_frame_by_frame(video: Path, backend: str) -> None:
    with open_frames(video, backend=backend) as frames:
        assert (frames.fps, frames.size, len(frames)) == (30, (48, 64), 30)
        assert numbers(frames) == list(range(30))
        assert numbers(frames) == list(range(30))  # again, from the start


@backends
@pytest.mark.parametrize("fps", [10, 15, 7.5, 20, 100])
def test_thinning_spreads_frames_evenly(video: Path, backend: str, fps: float) -> None:
    frames = open_frames(video, backend=backend, fps=fps)
    kept = numbers(frames)
    assert frames.fps == min(fps, 30) and frames.recorded_fps == 30
    assert len(kept) == len(frames) == round(30 * min(fps, 30) / 30)
    assert np.abs(np.array(kept) - np.arange(len(kept)) * 30 / min(fps, 30)).max() <= 0.5


def test_a_folder_is_read_in_natural_order(folder: Path) -> None:
    frames = open_frames(folder)
    assert numbers(frames) == list(range(12)) and len(frames) == 12
    assert numbers(open_frames(folder, fps=10)) == [0, 3, 6, 9]


def test_a_picture_is_one_frame(folder: Path) -> None:
    assert numbers(open_frames(folder / "7.png", fps=5)) == [7]


def test_frames_that_vanish_or_change_size_are_named(folder: Path) -> None:
    frames = iter(open_frames(folder))
    next(frames)
    os.remove(folder / "1.png")
    with pytest.raises(VidaffError, match=r"1\.png: no such file"):
        next(frames)
    write_image(folder / "1.png", shade(1, (10, 10)))
    with pytest.raises(VidaffError, match="frame 2 is 10x10, the first one 64x48"):
        list(open_frames(folder))


@backends
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_video_is_one_clear_line(video: Path, tmp_path: Path, backend: str, share: float) -> None:
    """The index is in front, so a cut file opens well and ends early."""
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.mp4"
    with VideoWriter(path, 30, (48, 64)) as writer:
        for _ in range(20):
            writer.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(VidaffError, match=r"noise\.mp4: .*truncated") as caught:
        list(open_frames(path, backend=backend))
    assert "\n" not in str(caught.value)


@backends
def test_what_is_no_video_is_refused(tmp_path: Path, backend: str) -> None:
    for name in ("a.mp4", "b.txt"):
        (tmp_path / name).write_text("not a video at all")
        with pytest.raises(VidaffError, match="not a readable video"):
            open_frames(tmp_path / name, backend=backend)
    (tmp_path / "empty").mkdir()
    with pytest.raises(VidaffError, match="holds no pictures"):
        open_frames(tmp_path / "empty", backend=backend)
    with pytest.raises(VidaffError, match="no such file or folder"):
        open_frames(tmp_path / "nowhere.mp4", backend=backend)


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        for packet in [*stream.encode(silence), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(VidaffError, match="has no video stream"):
        open_frames(path)


def test_bad_arguments_are_refused(video: Path) -> None:
    with pytest.raises(VidaffError, match="unknown video backend"):
        open_frames(video, backend="vlc")
    with pytest.raises(VidaffError, match="fps must be positive"):
        open_frames(video, fps=0)


def test_a_camera_that_is_not_there_is_one_line() -> None:
    for source in (97, "97"):
        with pytest.raises(VidaffError, match="camera 97: cannot be opened"):
            open_frames(source)


def test_a_camera_gives_frames_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Capture:
        def __init__(self, number: int) -> None:
            self.left = [shade(n) for n in range(3)]

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray | None]:
            return (True, self.left.pop(0)) if self.left else (False, None)

        def get(self, key: int) -> float:
            return 0.0

        def release(self) -> None:
            pass

    monkeypatch.setattr("cv2.VideoCapture", Capture)
    with open_frames(0) as frames:
        assert frames.length is None and frames.fps == 30
        with pytest.raises(TypeError):
            len(frames)
        seen = []
        with pytest.raises(VidaffError, match="camera 0: gives no more pictures"):
            for frame in frames:
                seen.append(frame)
        assert numbers(seen) == [0, 1, 2]


@pytest.mark.parametrize(
    ("matrix", "bright"), [((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom")]
)
def test_a_phones_rotation_mark_is_obeyed(tmp_path: Path, matrix: tuple[int, ...], bright: str) -> None:
    """The left half is bright as stored; x' = a x + c y, y' = b x + d y with the matrix (a, b, c, d) of the track."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :32] = 250
    path = tmp_path / "phone.mp4"
    with VideoWriter(path, 30, (48, 64)) as video:
        video.write(frame)
    content = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    picture = next(iter(open_frames(path)))
    assert picture.shape == ((64, 48, 3) if matrix[0] == 0 else (48, 64, 3))
    height, width = picture.shape[:2]
    halves = {
        "top": picture[: height // 2], "bottom": picture[height // 2 :],
        "left": picture[:, : width // 2], "right": picture[:, width // 2 :],
    }  # fmt: skip
    assert max(halves, key=lambda name: float(halves[name].mean())) == bright


# Depth


DEPTH = (np.arange(3 * 4 * 5, dtype=np.uint16) * 50).reshape(3, 4, 5)


def depth_folder(path: Path) -> Path:
    for number, depth in enumerate(DEPTH):
        write_image(path / "depth" / f"{8 + number}.png", depth)
    return path / "depth"


def depth_npy(path: Path) -> Path:
    np.save(path / "depth.npy", DEPTH)
    return path / "depth.npy"


def depth_h5(path: Path) -> Path:
    with h5py.File(path / "depth.h5", "w") as file:
        file["depth"] = DEPTH
        file["times"] = np.zeros(3)
    return path / "depth.h5"


@pytest.mark.parametrize("write", [depth_folder, depth_npy, depth_h5])
def test_depth_is_read_frame_by_frame(tmp_path: Path, write: object) -> None:
    with open_depth(write(tmp_path)) as depth:  # type: ignore[operator]
        assert (len(depth), depth.size, depth.dtype) == (3, (4, 5), np.uint16)
        assert np.array_equal(np.stack(list(depth)), DEPTH)
        assert np.array_equal(depth.read(2), DEPTH[2])
        with pytest.raises(VidaffError, match="frame 4 was asked for"):
            depth.read(3)


def test_an_hdf5_file_with_several_arrays_needs_a_name(tmp_path: Path) -> None:
    path = depth_h5(tmp_path)
    with h5py.File(path, "r+") as file:
        file["other"] = DEPTH
    with pytest.raises(VidaffError, match=r"name its depth data set as depth\.h5::NAME"):
        open_depth(path)
    assert len(open_depth(f"{path}::depth")) == 3
    with pytest.raises(VidaffError, match="name its depth data set"):
        open_depth(f"{path}::nothing")


def test_what_is_no_depth_is_refused(tmp_path: Path, video: Path) -> None:
    np.save(tmp_path / "flat.npy", DEPTH[0])
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(depth_npy(tmp_path).read_bytes()[:100])
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4, 6), }".ljust(117) + b"\n"
    (tmp_path / "less.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(99))
    (tmp_path / "wide.pgm").write_bytes(b"P5\n60000 60000\n65535\n" + bytes(10))
    (tmp_path / "bad.h5").write_text("x")
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "colour.png", shade(0))
    cases = {
        "flat.npy": r"\(T, H, W\)", "pickle.npy": "not readable as a NumPy array", "cut.npy": "not readable",
        "less.npy": "not readable", "wide.pgm": "pixels are refused",
        "bad.h5": "not a readable HDF5", "empty": "holds no depth frames", "colour.png": "16-bit",
        "nowhere": "no such file or folder", str(video): "videos lose it",
    }  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(VidaffError, match=message):
            open_depth(tmp_path / name)


def test_depth_of_other_size_or_number_is_an_error(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "rgb" / f"{number}.png", shade(number, (4, 5)))
    depth = open_depth(depth_folder(tmp_path))
    pairs = paired(open_frames(tmp_path / "rgb"), depth)
    assert np.array_equal(next(pairs)[1], DEPTH[0])
    with pytest.raises(VidaffError, match="3 depth frames for 2 frames"):
        list(pairs)
    for number in range(2, 4):
        write_image(tmp_path / "rgb" / f"{number}.png", shade(number, (4, 5)))
    with pytest.raises(VidaffError, match="frame 4 was asked for"):
        list(paired(open_frames(tmp_path / "rgb"), depth))
    write_image(tmp_path / "other.png", shade(0))
    with pytest.raises(VidaffError, match="depth is 5x4, the frames 64x48"):
        list(paired(open_frames(tmp_path / "other.png"), depth))
    write_image(tmp_path / "depth" / "9.png", np.zeros((2, 2), np.uint16))
    with pytest.raises(VidaffError, match="depth frame 2"):
        list(open_depth(tmp_path / "depth"))


# Videos out


@pytest.mark.parametrize(("size", "stored"), [((48, 64), (48, 64)), ((47, 63), (48, 64)), ((2, 3), (2, 4))])
def test_odd_sizes_are_padded(tmp_path: Path, size: tuple[int, int], stored: tuple[int, int]) -> None:
    frames = open_frames(write_video(tmp_path / "v.mp4", 3, 12.5, size))
    assert (frames.size, frames.fps, numbers(frames)) == (stored, 12.5, [0, 1, 2])


def test_a_video_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 10, (16, 16)) as video:
        video.write(shade(0, (16, 16)))
        assert not path.exists()
        raise KeyboardInterrupt
    with pytest.raises(VidaffError, match="no frames were written"), VideoWriter(path, 10, (16, 16)):
        pass
    with pytest.raises(VidaffError, match=r"frames must be \(16, 16, 3\)"), VideoWriter(path, 10, (16, 16)) as video:
        video.write(shade(0))
    with pytest.raises(VidaffError, match="positive frame rate"):
        VideoWriter(path, 0, (16, 16))
    with pytest.raises(VidaffError, match="cannot write"):
        VideoWriter("/proc/no/v.mp4", 10, (16, 16))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoWriter(tmp_path / "v.mp4", 10, (16, 16))
    video.write(shade(0, (16, 16)))

    def full(frame: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "_encode", full)
    with pytest.raises(VidaffError, match="No space left"):
        video.close()
    video.close()
    assert list(tmp_path.iterdir()) == []


# Damaged pictures


def wide(kind: str) -> bytes:
    """A small picture whose header promises 60000x60000 pixels."""
    content = bytearray(cv2.imencode(f".{kind}", np.zeros((9, 11), np.uint8))[1].tobytes())
    side, at = 60000, content.index
    if kind == "png":
        content[16:24] = struct.pack(">II", side, side)
    elif kind == "jpg":
        content[at(b"\xff\xc0") + 5 : at(b"\xff\xc0") + 9] = struct.pack(">HH", side, side)
    elif kind == "bmp":
        content[18:26] = struct.pack("<ii", side, side)
    elif kind == "pgm":
        content[: at(b"255")] = b"P5\n60000 60000\n"
    else:  # tif: tags of type LONG
        for tag in (256, 257):
            start = content.index(struct.pack("<H", tag), int.from_bytes(content[4:8], "little"))
            content[start : start + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return bytes(content)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "pgm", "tif"])
def test_pictures_of_far_too_many_pixels_are_refused_by_their_header(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(wide(kind))
    for read in (read_image, read_depth_image, read_label_image):
        with pytest.raises(VidaffError, match=rf"x\.{kind}: .*more than 100000000 .*refused"):
            read(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "ppm", "tif", "webp", "gif"])
@pytest.mark.parametrize("type_", [np.uint8, np.uint16])
def test_every_kind_of_picture_is_read(tmp_path: Path, kind: str, type_: type) -> None:
    """16-bit colour TIFF among them, which Pillow cannot open."""
    encoded = cv2.imencode(f".{kind}", np.full((9, 11, 3), 200, type_))[1]
    (tmp_path / "x.png").write_bytes(np.asarray(encoded).tobytes())
    assert read_image(tmp_path / "x.png").shape == (9, 11, 3)


@backends
def test_videos_and_arrays_have_the_same_limit(
    video: Path, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_dataset("depth", (2, 60000, 60000), np.uint16, chunks=(1, 100, 100))
    with pytest.raises(VidaffError, match="60000x60000 pixels"):
        open_depth(tmp_path / "wide.h5")
    monkeypatch.setattr("vidaff.io.MAX_IMAGE_PIXELS", 48 * 64 - 1)
    with pytest.raises(VidaffError, match="64x48 pixels, more than"):
        open_frames(video, backend=backend)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["png", "jpg", "png16", "bmp", "ppm", "tif"]))
def test_damaged_pictures_read_whole_or_are_refused(data: st.DataObject, kind: str, tmp_path_factory: object) -> None:
    folder: Path = tmp_path_factory.mktemp("damage")  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    path = folder / f"x.{kind[:3]}"
    colour = rng.integers(0, 255, (9, 11, 3), dtype=np.uint8)
    write_image(path, colour[..., 0].astype(np.uint16) * 100 if kind == "png16" else colour)
    content = bytearray(path.read_bytes())
    content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        picture = read_depth_image(path) if kind == "png16" else read_image(path)
    except VidaffError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert picture.ndim == (2 if kind == "png16" else 3) and picture.size


# Real samples


@pytest.mark.real
@backends
def test_a_real_clip_of_hands_opens(shared_dir: Path, backend: str) -> None:
    path = min((shared_dir / "data" / "sam2_hand_videos").glob("*.mp4"), key=lambda file: file.stat().st_size)
    with open_frames(path, backend=backend, fps=10) as frames:
        assert frames.recorded_fps > 10 and len(frames) > 10
        picture = next(iter(frames))
        assert picture.shape == (*frames.size, 3) and picture.std() > 10


@pytest.mark.real
def test_real_registered_depth_reads(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "slambook2_rgbd"
    with open_frames(folder / "color") as frames, open_depth(folder / "depth") as depth:
        pairs = list(paired(frames, depth))
    assert len(pairs) == 5 and pairs[0][1].dtype == np.uint16
    assert 500 < np.median(pairs[0][1][pairs[0][1] > 0]) < 5000
