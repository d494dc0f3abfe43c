"""Geometry ``aligned``: a Kinect's two cameras, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from vidaff.datasets.prepare import PrepareSettings, prepare_clips
from vidaff.datasets.prepared import PreparedClips
from vidaff.datasets.sor3d_aff import Sor3dAff
from vidaff.datasets.taxonomy import MASK_COLOURS
from vidaff.errors import VidaffError
from vidaff.io import write_image, write_json

COLOUR = {"fx": 100.0, "fy": 100.0, "cx": 79.5, "cy": 59.5, "width": 160, "height": 120}
DEPTH = {"fx": 50.0, "fy": 50.0, "cx": 39.5, "cy": 29.5, "width": 80, "height": 60}
SHIFT = 8
"""Colour pixels by which a wall at 1 m is displaced between the two cameras (0.08 m times 100 px)."""


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    path = tmp_path / "kinect.yaml"
    content = {"colour": COLOUR, "depth": DEPTH, "rotation": np.eye(3).tolist(), "translation": [0.08, 0.0, 0.0]}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three frames: a wall at 1 m with a hole, a red square in the picture, labelled ``cut`` in the mask."""
    rgb = tmp_path / "train" / "Subject1_cut_a_knife" / "rgb"
    picture, mask = np.full((120, 160, 3), 90, np.uint8), np.full((120, 160, 3), 255, np.uint8)
    picture[40:80, 60:100] = (250, 0, 0)
    mask[40:80, 60:100] = MASK_COLOURS["cut"]
    depth = np.full((60, 80), 1000, np.uint16)
    depth[5:9, 30:34] = 0
    for number in (1, 2, 3):
        write_image(rgb / f"{number}.png", picture)
        write_image(rgb.parent / "depth" / f"{number}.png", depth)
    for name in ("z_1_mask.png", "z_2.png", "z_3.png"):
        write_image(rgb / name, mask)
    write_json(rgb / "z_4.json", {"center": []})
    return tmp_path


def square(labels: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(labels)
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def test_colours_and_labels_land_on_the_depth_grid(root: Path, calibration: Path) -> None:
    clip = Sor3dAff(root, "train", geometry="aligned", calibration=calibration, fps=None).read(0)
    assert clip.rgb.shape == (3, 60, 80, 3) and clip.depth is not None and clip.mask is not None
    # 20 depth pixels of 2 colour pixels each, moved left by SHIFT / 2.
    assert square(clip.mask == 0) == (20, 40, 30 - SHIFT // 2, 50 - SHIFT // 2)
    red = (clip.rgb[-1, ..., 0] > 200) & (clip.rgb[-1, ..., 1] < 40)
    assert ((clip.mask == 0) ^ red).sum() <= 2 * 20  # bilinear borders
    assert not clip.rgb[:, 5:9, 30:34].any()  # no depth, no colour
    assert not clip.rgb[:, :, -SHIFT // 2 :].any()  # outside the colour picture
    assert clip.intrinsics is not None and clip.intrinsics.as_dict() == {k: DEPTH[k] for k in ("fx", "fy", "cx", "cy")}


def test_unmapped_pixels_may_be_ignored(root: Path, calibration: Path) -> None:
    options = {"geometry": "aligned", "calibration": calibration, "black_is_ignore": True}
    mask = Sor3dAff(root, "train", **options).read(0).mask
    assert mask is not None and (mask[5:9, 30:34] == 255).all() and (mask[:, -SHIFT // 2 :] == 255).all()


def test_a_mask_on_the_depth_grid_is_taken_as_it_is(root: Path, calibration: Path) -> None:
    mask = np.full((60, 80, 3), 255, np.uint8)
    mask[10:20, 10:30] = MASK_COLOURS["cut"]
    write_image(root / "train" / "Subject1_cut_a_knife" / "rgb" / "z_1_mask.png", mask)
    labels = Sor3dAff(root, "train", geometry="aligned", calibration=calibration).read(0).mask
    assert labels is not None and square(labels == 0) == (10, 20, 10, 30)


def test_frames_on_the_depth_grid_already_are_left_alone(root: Path, calibration: Path) -> None:
    folder = root / "train" / "Subject1_cut_a_knife"
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    for path in folder.glob("rgb/?.png"):
        write_image(path, picture)
    write_image(folder / "rgb" / "z_1_mask.png", np.full((60, 80, 3), 255, np.uint8))
    clip = Sor3dAff(root, "train", geometry="aligned", calibration=calibration).read(0)
    assert np.array_equal(clip.rgb[-1], picture)


def test_the_centre_is_cropped_and_the_camera_with_it(root: Path, calibration: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(
        size=(20, 20), geometry="aligned", calibration=str(calibration), centre_crop=40, fps=None, flow="dis"
    )
    out = prepare_clips("sor3d-aff", root, tmp_path / "c.h5", settings, workers=1, progress=False)
    clips = PreparedClips(out, "train")
    clip = clips.read(0)
    assert clip.rgb.shape == (3, 20, 20, 3) and clip.intrinsics is not None
    assert (clip.intrinsics.fx, clip.intrinsics.cx) == (25, (39.5 - 20 + 0.5) / 2 - 0.5)
    assert clips.settings["calibration"]["colour"]["width"] == 160
    with pytest.raises(VidaffError, match="centre crop of 70 does not fit"):
        Sor3dAff(root, "train", geometry="aligned", calibration=calibration, centre_crop=70).read(0)


def test_what_does_not_fit_the_calibration_is_named(root: Path, calibration: Path) -> None:
    clips = Sor3dAff(root, "train", geometry="aligned", calibration=calibration)
    write_image(root / "train" / clips.name(0) / "rgb" / "3.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(VidaffError, match=r"3\.png: the picture is 50x50, the calibration's colour camera 160x120"):
        clips.read(0)


def test_recordings_without_depth_cannot_be_aligned(root: Path, calibration: Path) -> None:
    clips = Sor3dAff(root, "train", geometry="aligned", calibration=calibration)
    (root / "train" / clips.name(0) / "depth").rename(root / "depth")
    with pytest.raises(VidaffError, match="needs a depth/ folder"):
        clips.read(0)


def test_without_a_calibration_the_two_grids_are_refused(root: Path) -> None:
    with pytest.raises(VidaffError, match="the picture is 160x120, its depth 80x60; map the colours"):
        Sor3dAff(root, "train", fps=None).read(0)


def test_the_nominal_camera_of_a_kinects_depth_grid(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "Subject1_cut_a_knife"
    for name in ("rgb/1.png", "rgb/z_1.png", "rgb/z_2.png", "rgb/z_3.png"):
        write_image(folder / name, np.full((424, 512, 3), 255, np.uint8))
    write_json(folder / "rgb" / "z_4.json", {"center": []})
    camera = Sor3dAff(tmp_path, "val").read(0).intrinsics
    assert camera is not None and camera.fx == 365
