"""The streaming job: every kind of source, every output, and what happens when something is wrong."""

from __future__ import annotations

import csv
import signal
import threading
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch

from vidaff.bench import made_up_file
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics
from vidaff.flow3d.cameras import parse_intrinsics
from vidaff.infer import InferJob, InferSettings, infer
from vidaff.io import write_image, write_json
from vidaff.media import VideoWriter, open_frames
from vidaff.models.video import build_video_model
from vidaff.sources import SourceSettings, open_source
from vidaff.weights import save_checkpoint

HEIGHT, WIDTH, FRAMES = 36, 48, 7


def save_model(folder: Path, **model: Any) -> str:
    torch.manual_seed(0)
    recipe = Recipe(model=ModelSettings(width=0.0625, **model), input=InputSettings(size=(32, 40)))
    return str(save_checkpoint(folder, build_video_model(recipe.model), recipe, {}))


@pytest.fixture(scope="module")
def rgbd_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("rgbd"))


@pytest.fixture(scope="module")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("rgb"), depth=False, second_stream="none")


def pictures() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (HEIGHT // 6, WIDTH // 6, 3), np.uint8)
    rgb = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    depth = rng.integers(500, 900, (HEIGHT, WIDTH)).astype(np.uint16)
    return [(np.roll(rgb, t, 1), np.roll(depth, t, 1)) for t in range(FRAMES)]


def write_clip(folder: Path, colours: str = "rgb", depth: str | None = "depth") -> Path:
    for number, (rgb, millimetres) in enumerate(pictures(), start=1):
        write_image(folder / colours / f"{number:04d}.png", rgb)
        if depth:
            write_image(folder / depth / f"{number:04d}.png", millimetres)
    return folder


def write_video(path: Path, frames: int = FRAMES) -> Path:
    with VideoWriter(path, 10, (HEIGHT, WIDTH)) as video:
        for number in range(frames):
            video.write(pictures()[number % FRAMES][0])
    return path


def settings(source: Path | str, checkpoint: str, out: Path, **options: Any) -> InferSettings:
    own = {key: options.pop(key) for key in list(options) if key in SourceSettings.__dataclass_fields__}
    read = SourceSettings(str(source), **{"fps": 0, **own})
    return InferSettings(read, checkpoint, out, device="cpu", precision="fp32", **options)


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "timeline.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_an_own_clip_gives_every_output(tmp_path: Path, rgbd_model: str) -> None:
    clip = write_clip(tmp_path / "clip")
    write_json(
        clip / "clip.json",
        {"fps": 10, "intrinsics": {"fx": 40, "fy": 40, "cx": 24, "cy": 18, "width": WIDTH, "height": HEIGHT}},
    )
    job = InferJob(settings(clip, rgbd_model, tmp_path / "out", probs=True, ply=True))
    assert job.notes == [] and job.source.count == FRAMES
    summary = job.run()
    assert job.segmenter.intrinsics == Intrinsics(40, 40, 24, 18)
    assert summary.frames == FRAMES and sum(summary.actions.values()) == FRAMES and not summary.interrupted
    numbers = [f"{n:06d}" for n in range(1, FRAMES + 1)]
    assert files(tmp_path / "out") == sorted(
        ["overlay.mp4", "timeline.csv"]
        + [f"labels/{n}.png" for n in numbers]
        + [f"probs/{n}.npz" for n in numbers]
        + [f"ply/{n}.ply" for n in numbers]
    )
    labels = cv2.imread(str(tmp_path / "out/labels/000003.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (HEIGHT, WIDTH) and labels.max() <= 9
    table = rows(tmp_path / "out")
    assert [row["frame"] for row in table] == [str(n) for n in range(1, FRAMES + 1)]
    assert float(table[2]["background"]) == pytest.approx((labels == 9).mean(), abs=1e-5)
    with np.load(tmp_path / "out/probs/000003.npz") as arrays:
        assert arrays["probs"].shape == (10, 32, 40) and arrays["attention"].shape == (4, 5)
        assert arrays["action_probs"].max() == pytest.approx(float(table[2]["action_prob"]), abs=1e-3)
    with open_frames(tmp_path / "out/overlay.mp4") as video:
        assert video.fps == 10 and len(video) == FRAMES and video.size[0] == 480


def test_point_clouds_carry_positions_colours_and_labels(tmp_path: Path, rgbd_model: str) -> None:
    import open3d as o3d

    clip = write_clip(tmp_path / "clip")
    infer(
        settings(clip, rgbd_model, tmp_path / "out", ply=True, max_frames=1, intrinsics="40,42,24,18", video=False),
        say=lambda note: None,
    )
    cloud = o3d.t.io.read_point_cloud(str(tmp_path / "out/ply/000001.ply"))
    depth = pictures()[0][1] / 1000
    assert len(cloud.point.positions) == depth.size
    point = cloud.point.positions.numpy()[5 * WIDTH + 7]
    assert point == pytest.approx([(7 - 24) / 40 * depth[5, 7], (5 - 18) / 42 * depth[5, 7], depth[5, 7]], abs=1e-4)
    labels = cv2.imread(str(tmp_path / "out/labels/000001.png"), cv2.IMREAD_UNCHANGED)
    assert (cloud.point.label.numpy().ravel() == labels.ravel()).all()


def test_a_frame_without_depth_has_no_cloud_and_stops_nothing(tmp_path: Path, rgbd_model: str) -> None:
    clip = write_clip(tmp_path / "clip")
    write_image(clip / "depth" / "0002.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    wanted = settings(clip, rgbd_model, tmp_path / "out", ply=True, max_frames=3, video=False)
    assert infer(wanted, say=lambda note: None).frames == 3
    assert sorted(path.name for path in (tmp_path / "out/ply").iterdir()) == ["000001.ply", "000003.ply"]


def test_all_forms_of_one_clip_give_the_same_labels(tmp_path: Path, rgbd_model: str) -> None:
    """Own clip, recording, plain folder with 16-bit, NumPy and HDF5 depth, and a prepared file."""
    own = write_clip(tmp_path / "clip")
    recording = write_clip(tmp_path / "Subject1_cut_1_knife")
    for name in ("z_1_mask.png", "z_2_x.png", "z_3_x.png"):
        write_image(recording / "rgb" / name, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write_json(recording / "rgb/z_4_hotspot.json", {"center": []})
    depth = np.stack([millimetres for _, millimetres in pictures()])
    np.save(tmp_path / "depth.npy", depth.astype(np.float32) / 1000)
    with h5py.File(tmp_path / "depth.h5", "w") as file:
        file["depth"] = depth
    prepared = made_up_file(tmp_path / "clips.h5", (HEIGHT, WIDTH), 1, FRAMES)
    with h5py.File(prepared, "r+") as file:
        group = file["train/Subject1_cut_0_knife"]
        group["rgb"][...] = np.stack([rgb for rgb, _ in pictures()])
        group["depth"][...] = depth
    plain = own / "rgb"
    sources: dict[str, dict[str, Any]] = {
        "own": {"source": own},
        "recording": {"source": recording},
        "folder": {"source": plain, "depth": str(own / "depth")},
        "scaled": {"source": plain, "depth": str(own / "depth"), "depth_scale": 1000.0},
        "npy": {"source": plain, "depth": str(tmp_path / "depth.npy")},
        "h5": {"source": plain, "depth": str(tmp_path / "depth.h5")},
        "prepared": {"source": prepared},
        "named": {"source": prepared, "clip": "Subject1_cut_0_knife"},
    }
    found = {}
    for name, options in sources.items():
        out = tmp_path / "out" / name
        infer(settings(checkpoint=rgbd_model, out=out, video=False, **options), say=lambda note: None)
        found[name] = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((out / "labels").iterdir())]
    assert all(len(labels) == FRAMES for labels in found.values())
    for name, labels in found.items():
        agree = np.mean([(a == b).mean() for a, b in zip(labels, found["own"], strict=True)])
        assert agree > 0.999, name


def test_a_video_is_thinned_and_the_timeline_says_which_frames(tmp_path: Path, rgb_model: str) -> None:
    video = write_video(tmp_path / "clip.mp4", 20)
    summary = infer(settings(video, rgb_model, tmp_path / "out", fps=5.0, max_frames=6), say=pytest.fail)
    assert summary.frames == 6
    assert [int(row["source_frame"]) for row in rows(tmp_path / "out")] == [0, 2, 4, 6, 8, 10]
    assert float(rows(tmp_path / "out")[5]["time_s"]) == pytest.approx(1.0, abs=0.01)
    with open_frames(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.fps == 5 and len(overlay) == 6


def test_a_picture_is_segmented_without_memory(tmp_path: Path, rgb_model: str) -> None:
    write_image(tmp_path / "a.png", pictures()[0][0])
    infer(settings(tmp_path / "a.png", rgb_model, tmp_path / "out"), say=pytest.fail)
    assert files(tmp_path / "out") == ["labels/000001.png", "overlay.png", "timeline.csv"]


def test_colour_only_input_to_a_depth_model_warns_once(tmp_path: Path, rgbd_model: str) -> None:
    video = write_video(tmp_path / "clip.mp4")
    notes: list[str] = []
    infer(settings(video, rgbd_model, tmp_path / "out", video=False), say=notes.append)
    assert sum("WARNING" in note for note in notes) == 1 and any("--depth-model" in note for note in notes)
    assert any("60-degree" in note for note in notes)


def test_a_camera_runs_until_max_frames(tmp_path: Path, rgb_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        def __init__(self, number: int) -> None:
            self.count = 0

        def isOpened(self) -> bool:
            return True

        def get(self, what: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.count += 1
            return True, pictures()[self.count % FRAMES][0]

        def release(self) -> None: ...

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    job = InferJob(settings("0", rgb_model, tmp_path / "out", max_frames=3, video=False))
    assert job.source.is_live and job.run().frames == 3


def test_estimated_depth_feeds_the_model_and_the_point_clouds(tmp_path: Path, rgbd_model: str) -> None:
    """A tiny random depth model of transformers, saved in a folder: loading it must need no network."""
    from transformers import AutoConfig, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=8,
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(tmp_path / "dpt")
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "dpt")
    assert AutoConfig.from_pretrained(tmp_path / "dpt").model_type == "dpt"
    video = write_video(tmp_path / "clip.mp4")
    notes: list[str] = []
    infer(
        settings(
            video, rgbd_model, tmp_path / "out", depth_model=str(tmp_path / "dpt"), ply=True, max_frames=2, video=False
        ),
        say=notes.append,
    )
    assert not any("WARNING" in note for note in notes)
    assert [name for name in files(tmp_path / "out") if name.startswith("ply")] == ["ply/000001.ply", "ply/000002.ply"]


def test_ctrl_c_closes_the_video_and_keeps_what_is_complete(tmp_path: Path, rgb_model: str) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)  # not always Python's own: shells start background jobs without it
    video = write_video(tmp_path / "clip.mp4")
    job = InferJob(settings(video, rgb_model, tmp_path / "out"))
    summary = job.run(lambda frame: signal.raise_signal(signal.SIGINT) if frame.number == 3 else None)
    assert summary.interrupted and summary.frames == 3 and len(rows(tmp_path / "out")) == 3
    with open_frames(tmp_path / "out/overlay.mp4") as overlay:
        assert sum(1 for _ in overlay) == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_leaves_nothing_half_written(tmp_path: Path, rgb_model: str) -> None:
    video = write_video(tmp_path / "clip.mp4")

    def twice(frame: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        InferJob(settings(video, rgb_model, tmp_path / "out")).run(twice)
    assert files(tmp_path / "out") == ["labels/000001.png"]


def test_a_truncated_video_keeps_the_frames_before_the_damage(tmp_path: Path, rgb_model: str) -> None:
    video = write_video(tmp_path / "clip.mp4", 60)
    data = video.read_bytes()
    # The index is in front, so a cut file opens and breaks in the middle.
    (tmp_path / "cut.mp4").write_bytes(data[: int(len(data) * 0.6)])
    with pytest.raises(VidaffError, match=r"truncated.*frames before it are complete in"):
        infer(settings(tmp_path / "cut.mp4", rgb_model, tmp_path / "out"), say=pytest.fail)
    done = len(rows(tmp_path / "out"))
    assert 0 < done < 60
    with open_frames(tmp_path / "out/overlay.mp4") as overlay:
        assert sum(1 for _ in overlay) == done
    (tmp_path / "stub.mp4").write_bytes(data[:200])
    with pytest.raises(VidaffError, match=r"stub.mp4: (not a readable video|has no video stream)"):
        infer(settings(tmp_path / "stub.mp4", rgb_model, tmp_path / "out2"), say=pytest.fail)
    assert not (tmp_path / "out2").exists()


def test_a_frame_of_another_size_stops_there(tmp_path: Path, rgb_model: str) -> None:
    clip = write_clip(tmp_path / "clip", depth=None)
    write_image(clip / "rgb" / "0005.png", np.zeros((20, 20, 3), np.uint8))
    for number, source in enumerate((clip, clip / "rgb")):
        with pytest.raises(VidaffError, match=r"20x20.*the 4 frames before it are complete"):
            infer(settings(source, rgb_model, tmp_path / f"out{number}"), say=lambda note: None)
        assert len(rows(tmp_path / f"out{number}")) == 4


def test_overwrite_leaves_nothing_of_a_longer_run_but_keeps_other_files(tmp_path: Path, rgb_model: str) -> None:
    video = write_video(tmp_path / "clip.mp4")
    infer(settings(video, rgb_model, tmp_path / "out", probs=True), say=pytest.fail)
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(VidaffError, match="already holds files"):
        infer(settings(video, rgb_model, tmp_path / "out"), say=pytest.fail)
    infer(settings(video, rgb_model, tmp_path / "out", max_frames=1, overwrite=True), say=pytest.fail)
    assert files(tmp_path / "out") == ["labels/000001.png", "mine.txt", "overlay.mp4", "timeline.csv"]


def test_bad_sources_are_named(tmp_path: Path, rgb_model: str, rgbd_model: str) -> None:
    clip = write_clip(tmp_path / "clip")
    small = tmp_path / "small"
    for number in range(1, FRAMES + 1):
        write_image(small / f"{number:04d}.png", np.zeros((10, 10), np.uint16))
    few = tmp_path / "few"
    write_image(few / "1.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    prepared = made_up_file(tmp_path / "clips.h5", (HEIGHT, WIDTH), 2, 2)
    (tmp_path / "whole/val").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.h5").write_bytes(b"")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"source": tmp_path / "nothing.mp4"}, "no such file or folder"),
        ({"source": tmp_path / "empty"}, "holds no pictures"),
        ({"source": tmp_path / "whole"}, "a whole data set"),
        ({"source": clip / "rgb", "depth": str(small)}, "depth is 10x10, the frames are 48x36"),
        ({"source": clip / "rgb", "depth": str(few)}, "1 depth frames for 7 frames"),
        ({"source": clip / "rgb", "depth": str(tmp_path / "none")}, "no such file or folder"),
        ({"source": clip, "depth": str(clip / "depth")}, "--depth belongs to plain frames"),
        ({"source": clip, "clip": "x"}, "--clip belongs to a prepared file"),
        ({"source": clip / "rgb", "calibration": "x.yaml"}, "--calibration belongs to a recording"),
        ({"source": prepared}, "holds 2 clips; choose one by --clip NAME, for example Subject1_cut_0_knife"),
        ({"source": prepared, "clip": "nope"}, "no clip 'nope'"),
        ({"source": tmp_path / "empty.h5"}, "not a readable HDF5 file"),
    ]
    for options, message in cases:
        with pytest.raises(VidaffError) as caught:
            InferJob(settings(checkpoint=rgb_model, out=tmp_path / "out", **options))
        assert message in str(caught.value) and "\n" not in str(caught.value), (options, str(caught.value))
    with pytest.raises(VidaffError, match="--ply needs depth"):
        InferJob(settings(clip / "rgb", rgbd_model, tmp_path / "out", ply=True))
    with pytest.raises(VidaffError, match="depth model '/nonexistent/x' cannot be loaded"):
        InferJob(settings(clip / "rgb", rgbd_model, tmp_path / "out", depth_model="/nonexistent/x"))
    assert not (tmp_path / "out").exists()


def test_implausible_depth_is_refused_with_its_frame(tmp_path: Path, rgbd_model: str) -> None:
    clip = write_clip(tmp_path / "clip")
    with pytest.raises(VidaffError, match=r"frame 1: depth: median \d+ m is not plausible"):
        infer(
            settings(clip / "rgb", rgbd_model, tmp_path / "out", depth=str(clip / "depth"), depth_scale=1.0),
            say=lambda note: None,
        )


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,3,4,5", "-1,2,3,4", "nan,1,1,1", "1;2;3;4"])
def test_bad_intrinsics_are_refused(text: str) -> None:
    with pytest.raises(VidaffError):
        parse_intrinsics(text)


def test_intrinsics_from_a_file_follow_the_frame_size(tmp_path: Path, rgb_model: str) -> None:
    camera = tmp_path / "camera.yaml"
    camera.write_text("{fx: 80, fy: 80, cx: 47.5, cy: 35.5, width: 96, height: 72}")
    video = write_video(tmp_path / "clip.mp4")
    job = InferJob(settings(video, rgb_model, tmp_path / "a", intrinsics=str(camera), video=False))
    job.run()
    assert job.segmenter.intrinsics == Intrinsics(40, 40, 23.5, 17.5)
    camera.write_text("{fx: 80, fy: 80, cx: 47.5, cy: 35.5, width: 96, height: 96}")
    with pytest.raises(VidaffError, match="for 96x96 pixels, the frames have 48x36"):
        infer(settings(video, rgb_model, tmp_path / "b", intrinsics=str(camera)), say=pytest.fail)


def test_sources_know_their_length_and_rate(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    write_json(clip / "clip.json", {"fps": 20})
    for fps, count, rate in ((0.0, 7, 20), (10.0, 4, 10), (5.0, 2, 5), (100.0, 7, 20)):
        source = open_source(SourceSettings(str(clip), fps=fps))
        assert (source.count, source.fps, len(list(source))) == (count, rate, count)


@pytest.mark.real
def test_real_rgbd_frames(tmp_path: Path, shared_dir: Path, rgbd_model: str) -> None:
    data = shared_dir / "data" / "slambook2_rgbd"
    notes: list[str] = []
    summary = infer(
        settings(
            data / "color", rgbd_model, tmp_path / "out", depth=str(data / "depth"), ply=True, probs=True,
            intrinsics="518,519,325.5,253.5",
        ),
        say=notes.append,
    )  # fmt: skip
    assert summary.frames == 5 and not any("WARNING" in note for note in notes)
    assert len(files(tmp_path / "out")) == 2 + 3 * 5
    labels = cv2.imread(str(tmp_path / "out/labels/000005.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (480, 640)


@pytest.mark.real
def test_real_hands_in_colour_only(tmp_path: Path, shared_dir: Path, rgbd_model: str) -> None:
    video = shared_dir / "data" / "sam2_hand_videos" / "02_cups.mp4"
    notes: list[str] = []
    summary = infer(settings(video, rgbd_model, tmp_path / "out", fps=10.0, max_frames=10), say=notes.append)
    assert summary.frames == 10 and any("WARNING" in note for note in notes)
    with open_frames(tmp_path / "out/overlay.mp4") as overlay:
        assert overlay.size[0] == 720 and len(overlay) == 10
