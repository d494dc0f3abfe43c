"""The friendly predictor: shapes, memory of the stream, checks, saving and the hub."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vidaff
from vidaff.config import InputSettings, ModelSettings, Recipe
from vidaff.errors import VidaffError
from vidaff.flow3d import Intrinsics, SceneFlow, pack_flow
from vidaff.frames import FrameError, check_depth, default_intrinsics, enlarge_labels
from vidaff.models.video import build_video_model
from vidaff.models.video.inputs import InputCoder
from vidaff.predict import MissingDepthWarning, VideoSegmenter

SIZE = (40, 48)


def make(size: tuple[int, int] = SIZE, **model: Any) -> VideoSegmenter:
    torch.manual_seed(0)
    recipe = Recipe(name="tiny", model=ModelSettings(width=0.0625, **model), input=InputSettings(size=size))
    return VideoSegmenter(build_video_model(recipe.model), recipe, {"epoch": 3}, precision="fp32", device="cpu")


def clip(frames: int = 4, size: tuple[int, int] = (60, 80)) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 255, (*size, 3), np.uint8)
    depth = rng.integers(500, 900, size).astype(np.uint16)
    depth[:5] = 0
    return [(np.roll(rgb, 2 * t, 1), np.roll(depth, 2 * t, 1)) for t in range(frames)]


@pytest.fixture(scope="module")
def segmenter() -> VideoSegmenter:
    return make(attention="softmax")


def test_result_has_the_documented_shapes(segmenter: VideoSegmenter) -> None:
    segmenter.reset()
    result = segmenter.step(*clip()[0])
    assert result.labels.shape == (60, 80) and result.labels.dtype == np.uint8 and result.labels.max() <= 9
    assert result.confidence.shape == (60, 80) and result.confidence.min() >= 0 and result.confidence.max() <= 1
    assert result.probs.shape == (10, *SIZE) and np.allclose(result.probs.sum(0), 1, atol=1e-5)
    assert result.action_probs.shape == (9,) and result.action_probs.sum() == pytest.approx(1, abs=1e-5)
    assert result.action == vidaff.datasets.taxonomy.AFFORDANCES[result.action_probs.argmax()]
    assert result.attention is not None and result.attention.shape == (5, 6)


def test_stream_equals_the_clip_form_on_training_inputs(segmenter: VideoSegmenter) -> None:
    """Frames at the model's size: the stream must see exactly what training would make of the same clip."""
    frames = clip(size=SIZE)
    segmenter.reset()
    streamed = [segmenter.step(rgb, depth) for rgb, depth in frames][-1]
    flow = SceneFlow(default_intrinsics(*SIZE), "dis")
    packed = np.stack([pack_flow(*flow.step(rgb, depth / np.float32(1000))) for rgb, depth in frames])
    coder = InputCoder(segmenter.recipe.input, segmenter.recipe.model)
    rgb = torch.from_numpy(np.stack([colours for colours, _ in frames]))[None]
    depth = torch.from_numpy(np.stack([millimetres for _, millimetres in frames]).astype(np.int32))[None]
    rgbd, coded = coder(rgb, depth, torch.from_numpy(packed)[None])
    with torch.inference_mode():
        output = make(attention="softmax")._model(rgbd, coded)
    assert np.abs(streamed.probs - output.logits[0].softmax(0).numpy()).max() < 1e-5
    assert np.abs(streamed.action_probs - output.action_logits[0].softmax(0).numpy()).max() < 1e-5


def test_reset_forgets_and_single_pictures_leave_the_stream_alone(segmenter: VideoSegmenter) -> None:
    frames = clip()
    segmenter.reset()
    plain = [segmenter.step(*frame).probs for frame in frames]
    segmenter.reset()
    mixed = []
    for frame in frames:
        segmenter.segment_image(frame[0][::2, ::2].copy(), frame[1][::2, ::2].copy())
        mixed.append(segmenter.step(*frame).probs)
    assert all((a == b).all() for a, b in zip(plain, mixed, strict=True))
    assert np.abs(plain[-1] - plain[0]).max() > 1e-6
    static = segmenter.segment_image(*frames[0])
    assert np.abs(static.probs - plain[0]).max() < 1e-6


def test_missing_depth_warns_once_and_still_runs() -> None:
    segmenter = make()
    with pytest.warns(MissingDepthWarning):
        segmenter.step(clip()[0][0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = segmenter.step(clip()[1][0])
        segmenter.step(*clip()[2])
    assert result.labels.shape == (60, 80)


@pytest.mark.parametrize(
    ("model", "method"),
    [({"depth": False, "second_stream": "none"}, "none"), ({"depth": False, "second_stream": "flow2d"}, "dis2d")],
)
def test_colour_models_need_no_depth(model: dict[str, Any], method: str) -> None:
    segmenter = make(**model, attention="none")
    assert segmenter.flow_method == method and not segmenter.needs_depth
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = [segmenter.step(rgb) for rgb, _ in clip()][-1]
        segmenter.reset()
        given_depth = [segmenter.step(rgb, depth) for rgb, depth in clip()][-1]
    assert (without.probs == given_depth.probs).all() and without.attention is None


def test_depth_in_metres_and_millimetres_mean_the_same(segmenter: VideoSegmenter) -> None:
    rgb, depth = clip()[0]
    segmenter.reset()
    first = segmenter.step(rgb, depth)
    segmenter.reset()
    metres = depth.astype(np.float32) / 1000
    metres[metres == 0] = np.nan
    assert np.abs(segmenter.step(rgb, metres).probs - first.probs).max() < 1e-5


def test_another_camera_changes_the_flow_and_starts_afresh() -> None:
    segmenter = make()
    before = [segmenter.step(*frame).probs for frame in clip()][-1]
    segmenter.intrinsics = Intrinsics(30, 30, 40, 30)
    after = [segmenter.step(*frame).probs for frame in clip()][-1]
    assert np.abs(before - after).max() > 1e-7


RGB = np.zeros((40, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ("rgb", "depth", "message"),
    [
        (RGB.astype(np.float32), None, "rgb: a NumPy array .* got float32"),
        (RGB[..., 0], None, r"got uint8 \(40, 48\)"),
        ([[1]], None, "got list"),
        (RGB[:4], None, "at least 8x8 pixels, got 48x4"),
        (RGB, np.zeros((20, 24), np.uint16), "depth: 24x20 does not fit the picture's 48x40"),
        (RGB, np.zeros((40, 48, 1), np.uint16), r"depth: a NumPy array \(H, W\)"),
        (RGB, np.full((40, 48), 700.0, np.float32), "millimetres passed as metres"),
        (RGB, np.zeros((40, 48), bool), "depth: must be numbers"),
    ],
)
def test_bad_frames_are_refused_in_one_line(segmenter: VideoSegmenter, rgb: Any, depth: Any, message: str) -> None:
    segmenter.reset()
    with pytest.raises(FrameError, match=message) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        segmenter.step(rgb, depth)
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError)


def test_a_stream_does_not_change_its_size(segmenter: VideoSegmenter) -> None:
    segmenter.reset()
    segmenter.step(*clip()[0])
    with pytest.raises(FrameError, match="began with frames of 80x60, got 48x40"):
        segmenter.step(*clip(size=SIZE)[0])
    segmenter.reset()
    segmenter.step(*clip(size=SIZE)[0])


@given(
    dtype=st.sampled_from([np.float32, np.float64, np.uint16, np.int32]),
    values=st.lists(st.floats(-10, 60, allow_nan=False), min_size=4, max_size=4),
    odd=st.sampled_from([0.0, float("nan"), float("inf"), float("-inf"), -1.0]),
)
@settings(max_examples=40, deadline=None)
def test_checked_depth_is_finite_and_never_negative(dtype: Any, values: list[float], odd: float) -> None:
    array = np.array([*values, odd, 1.0]).reshape(2, 3)
    if np.dtype(dtype).kind != "f":
        array = np.nan_to_num(array, posinf=0, neginf=0).clip(0)
    try:
        metres = check_depth(array.astype(dtype), (2, 3))
    except FrameError:
        return
    assert np.isfinite(metres).all() and (metres >= 0).all()


def test_enlarged_labels_are_the_best_class_of_the_enlarged_probabilities() -> None:
    probs = torch.rand(10, 12, 16).softmax(0)
    for size in [(12, 16), (37, 50), (6, 8)]:
        labels, confidence = enlarge_labels(probs.numpy(), size)
        assert labels.shape == confidence.shape == size
        mode = {"mode": "area"} if size == (6, 8) else {"mode": "bilinear", "align_corners": False}
        full = torch.nn.functional.interpolate(probs[None], size, **mode)[0]  # type: ignore[arg-type]
        best = full.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
        assert (full.amax(0) - best).max() < 1e-5
        assert np.abs(confidence - full.amax(0).numpy()).max() < 1e-5


def test_bf16_agrees_with_fp32() -> None:
    torch.manual_seed(0)
    recipe = Recipe(model=ModelSettings(width=0.0625), input=InputSettings(size=SIZE))
    results = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        segmenter = VideoSegmenter(build_video_model(recipe.model), recipe, precision=precision, device="cpu")
        results.append([segmenter.step(*frame) for frame in clip()][-1])
    assert np.abs(results[0].probs - results[1].probs).max() < 0.02


def test_saving_and_loading_gives_the_same_answers(segmenter: VideoSegmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\n") and "library_name: vidaff" in card and "| epoch | 3 |" in card
    loaded = vidaff.VideoSegmenter.from_pretrained(tmp_path / "m", precision="fp32", device="cpu")
    segmenter.reset()
    first, second = (s.step(*clip()[0]) for s in (segmenter, loaded))
    assert (first.probs == second.probs).all() and loaded.info == {"epoch": 3}


def test_push_to_hub_uploads_the_saved_folder(segmenter: VideoSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.hub_mixin as mixin

    seen: dict[str, Any] = {}

    class Api:
        def __init__(self, **options: Any) -> None: ...

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> str:
            seen[repo_id] = sorted(path.name for path in Path(folder_path).iterdir())
            return "url"

    monkeypatch.setattr(mixin, "HfApi", Api)
    assert segmenter.push_to_hub("me/tiny") == "url"
    assert seen == {"me/tiny": ["README.md", "config.json", "model.safetensors"]}


def test_hub_ids_are_fetched_and_local_paths_never(
    segmenter: VideoSegmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    segmenter.save_pretrained(tmp_path / "m")
    asked: list[str] = []

    def download(repo_id: str, **options: Any) -> str:
        asked.append(repo_id)
        return str(tmp_path / "m")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    VideoSegmenter.from_pretrained("someone/tiny", device="cpu")
    (tmp_path / "runs").mkdir()
    for name in ("runs/typo", "./a/b", "nothing", "a/b/c"):
        with pytest.raises(VidaffError, match="no such file or folder"):
            VideoSegmenter.from_pretrained(name)
    assert asked == ["someone/tiny"]


class Hostile:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("owned"),)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Hostile()}, tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.ckpt", "b.ckpt"):
        with pytest.raises(VidaffError, match="refused"):
            VideoSegmenter.from_pretrained(tmp_path / name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"device": "warp"}, "device 'warp' cannot be used here"),
        ({"size": (4, 40)}, "at least 8x8"),
    ],
)
def test_bad_options_are_refused(segmenter: VideoSegmenter, options: dict[str, Any], message: str) -> None:
    with pytest.raises(VidaffError, match=message):
        VideoSegmenter(segmenter._model, segmenter.recipe, **options)


def test_any_input_size_and_other_model_sizes() -> None:
    segmenter = make(second_stream="flow3d")
    other = VideoSegmenter(segmenter._model, segmenter.recipe, size=(33, 57), device="cpu", precision="fp32")
    for rgb, depth in clip(2, size=(71, 119)):
        result = other.step(rgb, depth)
    assert result.probs.shape == (10, 33, 57) and result.labels.shape == (71, 119)
