"""The small rules, with any input: mask colours, names, frame order, sampling, hotspots, calibration, windows."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidaff.datasets.calibration import Calibration, Camera, read_calibration, read_camera
from vidaff.datasets.geometry import Geometry, Window, map_colours, map_labels, parse_size
from vidaff.datasets.masks import TOLERANCE, UNKNOWN, classify_colours, decode_mask
from vidaff.datasets.recording import natural_key, parse_name, read_hotspot, sort_frames
from vidaff.datasets.sampling import authors_frames, frames_at, pick_frames
from vidaff.datasets.taxonomy import AFFORDANCES, BACKGROUND, MASK_COLOURS, OBJECTS
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics

PALETTE = np.array([*(MASK_COLOURS[name] for name in AFFORDANCES), (255, 255, 255)], np.uint8)
LABELS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 9))
QUICK = settings(max_examples=50, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rules")


# Colours of masks


@QUICK
@given(LABELS, st.integers(-TOLERANCE, TOLERANCE), st.integers(0, 2))
def test_every_label_picture_survives_its_colours(labels: np.ndarray, shift: int, channel: int) -> None:
    colours = PALETTE[labels].astype(int)
    colours[..., channel] = np.clip(colours[..., channel] + shift, 0, 255)
    assert np.array_equal(classify_colours(colours.astype(np.uint8)), labels)
    assert np.array_equal(decode_mask(colours.astype(np.uint8), None), labels)


@QUICK
@given(LABELS, st.integers(0, 8))
def test_only_the_own_action_is_foreground(labels: np.ndarray, action: int) -> None:
    assert np.array_equal(decode_mask(PALETTE[labels], action), np.where(labels == action, action, BACKGROUND))


@QUICK
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_is_the_one_class_near_it_or_none(colour: tuple[int, int, int]) -> None:
    near = [i for i, known in enumerate(PALETTE.tolist()) if max(map(abs, np.subtract(colour, known))) <= TOLERANCE]
    black = max(colour) <= TOLERANCE
    label = classify_colours(np.array([[colour]], np.uint8))[0, 0]
    assert label == (BACKGROUND if black else near[0] if near else UNKNOWN)
    assert len(near) <= 1


def test_black_may_be_ignored_and_strange_colours_are_refused() -> None:
    mask = np.zeros((4, 4, 3), np.uint8)
    assert (decode_mask(mask, 0) == 9).all()
    assert (decode_mask(mask, 0, black_is_ignore=True) == 255).all()
    with pytest.raises(VidaffError, match=r"x.png: 100% .* RGB \(200, 10, 10\)"):
        decode_mask(np.full((4, 4, 3), (200, 10, 10), np.uint8), 0, where="x.png")


# Names and order


@QUICK
@given(
    st.integers(0, 10**6),
    st.sampled_from(AFFORDANCES),
    st.lists(st.text("abc09-", min_size=1)),
    st.sampled_from(OBJECTS),
)
def test_a_recording_name_is_read_back(number: int, action: str, middle: list[str], thing: str) -> None:
    info = parse_name("_".join([f"Subject{number}", action, *middle, thing]))
    assert (info.subject, AFFORDANCES[info.action], info.object) == (f"Subject{number}", action, thing)


@QUICK
@given(st.text())
def test_any_other_name_is_an_error(name: str) -> None:
    try:
        info = parse_name(name)
    except VidaffError:
        return
    assert info.object in OBJECTS and name.startswith(info.subject)


@QUICK
@given(st.lists(st.integers(0, 99999), min_size=1, unique=True), st.randoms(), st.sampled_from(["", "frame", "img-"]))
def test_frames_come_in_the_order_of_their_numbers(numbers: list[int], random: object, prefix: str) -> None:
    folder = Path("rgb")
    names = [f"{prefix}{number:0{1 + number % 6}d}.png" for number in numbers]
    random.shuffle(names)  # type: ignore[attr-defined]
    ordered = sort_frames([folder / name for name in names], folder)
    assert [int(path.stem.removeprefix(prefix)) for path in ordered] == sorted(numbers)


@QUICK
@given(st.lists(st.text(max_size=8)))
def test_natural_order_is_an_order(names: list[str]) -> None:
    keys = [natural_key(name) for name in sorted(names, key=natural_key)]
    assert all(a <= b for a, b in pairwise(keys))
    assert sorted(["10", "9", "a10", "a9"], key=natural_key) == ["9", "10", "a9", "a10"]


# Sampling


@QUICK
@given(st.integers(1, 400), st.floats(1, 120), st.none() | st.floats(0.5, 120), st.none() | st.integers(1, 50))
def test_sampling_keeps_the_end_and_invents_nothing(
    n: int, source: float, fps: float | None, length: int | None
) -> None:
    frames = pick_frames(n, source, fps=fps, clip_length=length)
    assert frames[-1] == n - 1 and frames == sorted(set(frames)) and frames[0] >= 0
    assert length is None or len(frames) <= length
    if fps is None or fps >= source:
        assert frames == list(range(n))[-(length or n) :]


def test_thirty_frames_a_second_become_ten() -> None:
    assert frames_at(10, 30, 10) == [0, 3, 6, 9]
    assert frames_at(9, 30, 10) == [2, 5, 8]
    assert frames_at(9, 25, 10) == [0, 3, 6, 8] or frames_at(9, 25, 10) == [0, 3, 5, 8]


@QUICK
@given(st.integers(1, 500))
def test_the_authors_rule_gives_at_most_ten_frames_and_the_last(count: int) -> None:
    frames = authors_frames(count)
    assert 1 <= len(frames) <= 10 and frames[-1] == count - 1 and frames == sorted(frames)


@pytest.mark.parametrize(
    ("count", "step", "length"),
    [(25, 2, 10), (36, 4, 9), (50, 6, 9), (70, 8, 9), (90, 10, 9), (20, 12, 2), (200, 12, 10)],
)
def test_the_authors_steps(count: int, step: int, length: int) -> None:
    frames = authors_frames(count)
    assert set(np.diff(frames).tolist()) == {step} and len(frames) == length


# Hotspots


COORDINATE = st.floats(-5000, 5000)


@QUICK
@given(circles=st.lists(st.tuples(COORDINATE, COORDINATE, st.floats(0, 999))), as_text=st.booleans())
def test_hotspots_round_trip(folder: Path, circles: list[tuple[float, float, float]], as_text: bool) -> None:
    kind = str if as_text else float
    rows = [{"x_coord": kind(x), "y_coord": kind(y), "radius": r} for x, y, r in circles]
    path = folder / "hotspot.json"
    path.write_text(json.dumps({"center": rows}))
    assert read_hotspot(path) == circles


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["center", "x_coord", "y_coord", "radius", "fx"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@QUICK
@given(content=JSON)
def test_any_other_json_is_one_clear_line(folder: Path, content: object) -> None:
    path = folder / "other.json"
    path.write_text(json.dumps(content))
    try:
        read_hotspot(path)
    except VidaffError as error:
        assert str(path) in str(error) and "\n" not in str(error)


# Cameras


CAMERA = {"fx": 500.0, "fy": 510.0, "cx": 320.0, "cy": 240.0, "width": 640, "height": 480}
PAIR = {"colour": CAMERA, "depth": CAMERA, "rotation": np.eye(3).tolist(), "translation": [0.05, 0, 0]}


def test_a_calibration_round_trips(folder: Path) -> None:
    path = folder / "kinect.yaml"
    path.write_text(yaml.safe_dump(PAIR))
    calibration = read_calibration(path)
    assert calibration.as_dict() == PAIR | {"translation": [0.05, 0.0, 0.0]}
    path.write_text(yaml.safe_dump(calibration.as_dict()))
    assert read_calibration(path).as_dict() == calibration.as_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation": np.ones((3, 3)).tolist()}, "not a rotation matrix"),
        ({"rotation": np.diag([1, 1, -1]).tolist()}, "not a rotation matrix"),
        ({"rotation": [[1]]}, "3 x 3 numbers"),
        ({"translation": [52, 0, 0]}, "its unit is metres"),
        ({"translation": "left"}, "3 numbers"),
        ({"colour": None}, "colour: a camera needs the keys"),
        ({"depth": CAMERA | {"fx": -1}}, "must be positive"),
        ({"depth": CAMERA | {"fx": "wide"}}, "fx must be a number"),
    ],
)
def test_a_bad_calibration_is_one_clear_line(folder: Path, change: dict[str, object], message: str) -> None:
    path = folder / "bad.yaml"
    path.write_text(yaml.safe_dump(PAIR | change))
    with pytest.raises(VidaffError, match=message):
        read_calibration(path)


@QUICK
@given(content=st.binary(max_size=80) | JSON.map(lambda value: yaml.safe_dump(value).encode()))
def test_any_other_yaml_is_one_clear_line(folder: Path, content: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    for read in (read_camera, read_calibration):
        with pytest.raises(VidaffError) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_hostile_and_huge_yaml_is_refused(folder: Path) -> None:
    path = folder / "evil.yaml"
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(VidaffError, match="not readable as YAML"):
        read_camera(path)
    path.write_bytes(b"a: " + b"x" * 300_000)
    with pytest.raises(VidaffError, match="larger than 256 KiB"):
        read_camera(path)


# Windows


def test_sizes_are_parsed() -> None:
    assert parse_size("96") == (96, 96) and parse_size("240x320") == (240, 320)
    for text in ("", "a", "1x2x3", "-5", "99999"):
        with pytest.raises(VidaffError, match="size"):
            parse_size(text)


def test_the_authors_window_of_full_hd_is_that_of_the_release() -> None:
    window = Geometry("crop", (300, 300)).window((1080, 1920), "x")
    assert (window.left, window.top, window.width, window.height) == (600, 0, 900, 900)
    with pytest.raises(VidaffError, match="needs 16:9"):
        Geometry("crop").window((480, 640), "x")


def test_missing_depth_never_leaks_into_valid_depth() -> None:
    depth = np.full((40, 40), 1000, np.uint16)
    depth[::2, ::3] = 0
    for size in ((13, 17), (80, 80)):
        assert set(np.unique(Window(0, 0, 40, 40, size).nearest(depth))) <= {0, 1000}


@QUICK
@given(st.integers(0, 20), st.integers(0, 20), st.integers(10, 20), st.integers(10, 20), st.integers(8, 50))
def test_a_point_keeps_its_ray_through_the_window(top: int, left: int, height: int, width: int, size: int) -> None:
    camera = Intrinsics(50, 60, 19.5, 14.5)
    moved = Window(top, left, height, width, (size, size)).intrinsics(camera)
    # The corner of the window is the corner of the stored picture.
    assert (-0.5 - moved.cx) / moved.fx == pytest.approx((left - 0.5 - camera.cx) / camera.fx)
    assert (size - 0.5 - moved.cy) / moved.fy == pytest.approx((top + height - 0.5 - camera.cy) / camera.fy)


def calibration(shift_m: float) -> Calibration:
    colour = Camera(Intrinsics(100, 100, 79.5, 59.5), (120, 160))
    depth = Camera(Intrinsics(50, 50, 39.5, 29.5), (60, 80))
    return Calibration(colour, depth, np.eye(3), np.array([shift_m, 0, 0]))


def test_colours_are_mapped_to_the_depth_grid() -> None:
    """A wall at 1 m seen by a colour camera of twice the resolution, shifted by 4 colour pixels."""
    depth = np.full((60, 80), 1000, np.uint16)
    depth[10, 10] = 0
    columns = np.broadcast_to(np.arange(160, dtype=np.uint8), (120, 160))
    picture = np.dstack([columns] * 3)
    mapped = map_colours(picture, depth, calibration(0.04))
    assert mapped.shape == (60, 80, 3) and not mapped[10, 10].any()
    # Depth column x looks along (x - 39.5) / 50, which is colour column 2 (x - 39.5) + 79.5 + 4.
    expected = 2 * (np.arange(80) - 39.5) + 83.5
    assert np.abs(mapped[30, :70, 0] - expected[:70]).max() <= 1
    assert not mapped[:, expected > 159.5].any()
    labels = map_labels(np.full((120, 160), 255, np.uint8), depth, calibration(0.04), missing=9)
    assert labels[10, 10] == 9 and labels[30, 30] == 255
    with pytest.raises(VidaffError, match="colour camera 160x120"):
        map_colours(picture[:50], depth, calibration(0))
    with pytest.raises(VidaffError, match="depth camera 80x60"):
        map_colours(picture, depth[:50], calibration(0))
