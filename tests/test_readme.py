"""The README's pages, run as written but for sizes (slow: they render, train and infer)."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vidaff.cli import cli
from vidaff.datasets import Clip, load_dataset
from vidaff.datasets.synthetic import (
    Agd20kSettings,
    SynthSettings,
    UmdSettings,
    render_agd20k,
    render_sor3d_aff,
    render_umd,
)
from vidaff.datasets.taxonomy import AFFORDANCES
from vidaff.flow3d.analytic import make_pair
from vidaff.io import write_image, write_json

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")

TOY = {
    "train": "--quiet --set train.batch_size=2 --set train.epochs=1 --set train.max_minutes=0.2 --set model.init=he",
    "eval": "--limit 2",
}
"""Added to the README's commands, so that they end in seconds."""
TOY_STILLS = {
    "transfer": "--limit 3",
    "train": "--quiet --set train.epochs=1 --set train.batch_size=2 --set train.max_minutes=0.2 --set input.size=64",
    "eval": "--limit 2",
}
TOY_WORDS = {
    "label": "--quiet --set refine.train.epochs=1 --set refine.train.batch_size=2 --set refine.train.micro_batch=2",
    "train": "--quiet --set train.epochs=1 --set train.batch_size=4 --set train.micro_batch=4 --set train.holdout=0.3",
    "eval": "--limit 4",
}


def commands(heading: str) -> list[list[str]]:
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words and words[0] == "vidaff"]


def save_as_own_clip(folder: Path, clip: Clip) -> None:
    """Write a clip in the folder form that the README describes."""
    assert clip.depth is not None and clip.mask is not None and clip.intrinsics is not None
    for number, (rgb, depth) in enumerate(zip(clip.rgb, clip.depth, strict=True), start=1):
        write_image(folder / "rgb" / f"{number:04d}.png", rgb)
        write_image(folder / "depth" / f"{number:04d}.png", depth)
    write_image(folder / "mask.png", clip.mask)
    height, width = clip.mask.shape
    camera = {**clip.intrinsics.as_dict(), "width": width, "height": height}
    facts = {"action": AFFORDANCES[clip.action], "object": clip.object, "subject": "me", "fps": clip.fps}
    write_json(folder / "clip.json", {**facts, "intrinsics": camera})


def save_video(path: Path, clip: Clip) -> None:
    from vidaff.media import VideoWriter

    with VideoWriter(path, clip.fps, clip.rgb.shape[1:3]) as video:
        for frame in clip.rgb:
            video.write(frame)


def test_scene_flow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pair = make_pair("ball", size=(96, 128))
    frames = [(pair.rgb0, pair.depth0), (pair.rgb1, pair.depth1)]
    for (rgb, depth), number, letter in zip(frames, (1, 2), "ab", strict=True):
        millimetres = np.rint(depth * 1000).astype(np.uint16)
        for folder, name, picture in (("rgb", letter, rgb), ("depth", f"{letter}_depth", millimetres)):
            write_image(Path("clip") / folder / f"{number:04d}.png", picture)
            write_image(Path(f"{name}.png"), picture)
    section = README.split("## Scene flow alone\n", 1)[1].split("\n## ", 1)[0]
    known = {"rgb0": pair.rgb0, "depth0": pair.depth0, "rgb1": pair.rgb1, "depth1": pair.depth1, "frames": frames}
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], known)
    assert known["flow"].shape == (96, 128, 3)  # type: ignore[attr-defined]
    for words in commands("Scene flow alone"):
        result = CliRunner().invoke(cli, words, catch_exceptions=False)
        assert result.exit_code == 0, f"vidaff {shlex.join(words)}\n{result.output}"
    assert Path("runs/flow/flow.mp4").is_file() and Path("runs/pair/flow.png").is_file()
    assert len(list(Path("runs/flow-ply/ply").iterdir())) >= 3


@pytest.mark.slow
def test_own_data_from_folders_to_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = render_sor3d_aff("rendered", SynthSettings(clips_train=6, clips_val=2, size=64), workers=1, progress=False)
    for split in ("train", "val"):
        clips = load_dataset("sor3d-aff", root, split, size=(64, 64))
        for index in range(len(clips)):
            save_as_own_clip(tmp_path / "my_clips" / split / f"clip_{index:02d}", clips.read(index))
    save_video(tmp_path / "clip.mp4", clips.read(0))

    done = []
    for words in commands("Your own data"):
        if "ROOT" in words:
            continue
        result = CliRunner().invoke(cli, [*words, *shlex.split(TOY.get(words[0], ""))], catch_exceptions=False)
        assert result.exit_code == 0, f"vidaff {shlex.join(words)}\n{result.output}"
        done.append(words[0])
    assert done == ["data", "data", "train", "eval", "infer"]
    assert (tmp_path / "runs" / "mine" / "eval" / "results.md").is_file()
    assert (tmp_path / "runs" / "mine" / "clip" / "overlay.mp4").is_file()


def run_section(heading: str, toy: dict[str, str]) -> list[str]:
    """Run the commands under ``heading`` but those that render; return the verbs that were run."""
    done = []
    for words in commands(heading):
        if words[0] == "synth":
            continue
        result = CliRunner().invoke(cli, [*words, *shlex.split(toy.get(words[0], ""))], catch_exceptions=False)
        problems = words[:2] == ["data", "check"]  # a small set has fewer pictures than the real one
        assert result.exit_code == 0 or problems, f"vidaff {shlex.join(words)}\n{result.output}"
        done.append(words[0])
    return done


@pytest.mark.slow
def test_still_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = UmdSettings(pictures_train=8, pictures_val=4, size=96, frames=2)
    render_umd("part-affordance-dataset", settings, workers=1, progress=False)
    shutil.copy(next(Path("part-affordance-dataset").rglob("*_rgb.jpg")), "mug.jpg")
    assert run_section("Still pictures", TOY_STILLS) == ["data", "transfer", "train", "eval", "infer"]
    assert Path("runs/umd-transfer").is_dir() and Path("runs/umd/eval/results.md").is_file()


@pytest.mark.slow
def test_asking_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Agd20kSettings(images_train=104, images_test=52, size=128)
    render_agd20k("data/agd20k", settings, workers=1, progress=False)
    assert run_section("Ask a picture in words", TOY_WORDS) == ["label", "train", "eval", "ground"]
    assert Path("data/labels/report.html").is_file() and Path("runs/grounder/eval/results.md").is_file()
    assert list(Path("runs/asked").rglob("drink_with.png"))
