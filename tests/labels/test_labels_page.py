"""docs/labels.md: every command runs as written, on tiny files that stand where the page says (slow: it trains)."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.labels.test_vlpart import tiny_state
from tests.labels.tiny_models import picture, save_owl, save_sam, save_sam2, tiny_text_tower
from tests.models.image_models import save_tokenizer, tiny_clip
from tests.toy_agd20k import write_toy_tree
from vidaff.cli import cli
from vidaff.cli.label import command as label_command
from vidaff.io import write_image

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "labels.md").read_text(encoding="utf-8")
CLIP = "openai/clip-vit-base-patch16"
TINY_DETECTOR = (
    "--set part.detector.options={short_side: 64, long_side: 96, pre_nms: 50, post_nms: 20, "
    "anchor_sizes: [8.0, 16.0, 32.0]}",
)
TINY = (
    *("--set encoder.dim=32", "--set encoder.size=[32, 32]", "--set refine.model.dim=32"),
    *("--set refine.model.decoder={mlp_dim: 48, depth: 1}", "--set refine.input.size=[32, 32]"),
    *("--set refine.train.epochs=1", "--set refine.train.batch_size=2", "--set refine.train.num_exo=1"),
    *("--set refine.train.pairs=all", "--set part.segmenter.regions.points_per_side=1"),
)
TRAIN = (
    *("--set model.dim=32", "--set model.decoder={mlp_dim: 48, depth: 1}", "--set model.fuser={depth: 1, heads: 4}"),
    *("--set input.size=[32, 32]", "--set train.epochs=1", "--set train.batch_size=2", "--set train.micro_batch=2"),
    *("--set train.num_exo=1", "--set train.max_minutes=0.2", "--set model.clip.patch=8", "--quiet"),
)


def save_vlpart(path: Path) -> None:
    """A tiny checkpoint with a text tower, as the authors publish theirs."""
    torch.save({"model": {**tiny_state(), **tiny_text_tower()}}, path)


def write_what_the_page_names() -> None:
    """Weights, pictures, a table and a language model's answer, in the current folder."""
    save_vlpart(Path("swinbase_part_0a0000.pth"))
    save_sam(Path("sam_vit_h_4b8939.pth"))
    tiny_clip().save_pretrained(CLIP)
    save_tokenizer(Path(CLIP))
    save_owl(Path("google/owlv2-base-patch16-ensemble"))
    save_sam2(Path("facebook/sam2-hiera-small"))
    recipe = re.search(r"```yaml\n(# mine\.yaml\n.*?)```", PAGE, re.DOTALL)
    assert recipe is not None
    Path("mine.yaml").write_text(recipe[1])
    write_toy_tree(Path("AGD20K"), train=2, test=1, refined=False)
    shutil.rmtree("AGD20K/Seen/trainset/labels")
    shutil.copytree("AGD20K/Seen", "AGD20K/Unseen")
    for number in range(2):
        write_image(Path(f"pictures/{number}.png"), picture(seed=number))
    Path("pictures.csv").write_text("image,object,affordance\n0.png,knife,hold\n1.png,kettle,pour\n")
    Path("answer.json").write_text(json.dumps([{"affordance": "pour", "object": "kettle", "parts": ["kettle spout"]}]))


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line]


def made_small(words: list[str]) -> list[str]:
    """The same command for tiny models and few pictures, in this process."""
    small: list[str] = []
    if "labels-small" in words:
        small = ["--set refine.train.epochs=1", "--quiet"]
    elif words[1] == "label" and words[2] in ("all", "init", "objects", "similarity", "text", "refine"):
        small = [*TINY, *(TINY_DETECTOR if "owlv2=" not in " ".join(words) else ())]
        small += ["--quiet", "--threads 1", "--device cpu", "--engine local", "--workers 1"]
    elif words[1] == "train":
        small = [*TRAIN]
    elif words[1] == "synth":
        small = ["--images-train 92", "--images-test 46", "--size 64"]
    return [*words[1:], *(part for option in small for part in option.split(" ", 1))]


def chapter_of(words: list[str]) -> str:
    """Commands that need each other: rendered pictures, one's own with part names, a data set with weights."""
    if {"synth", "small"} & set(words):
        return "rendered"
    return "own" if {"pictures.csv", "pictures"} & set(words) else "data set"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chapter", "count", "made"),
    [
        ("data set", 12, ("labels/report.html", "stepwise/refine/best", "report/report.html", "runs/plsp/best")),
        ("own", 3, ("parts.yaml", "own/initial", "own/text.safetensors")),
        ("rendered", 3, ("small/refined", "small/report.html")),
    ],
)
def test_commands_run_as_written(tmp_path, monkeypatch, chapter: str, count: int, made: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write_what_the_page_names()
    # A report of rendered pictures is shown before the pictures are.
    chosen = sorted((one for one in commands() if chapter_of(one) == chapter), key=lambda one: "small" in one[3:4])
    assert len(chosen) == count
    for words in chosen:
        result = CliRunner().invoke(cli, made_small(words), catch_exceptions=True)
        assert result.exit_code == 0, f"{shlex.join(words)}\n{result.output}\n{result.exception!r}"
    assert all(Path(path).exists() for path in made)


def test_commands_of_the_page_and_of_the_help_name_what_they_need() -> None:
    """A step that asks a model names it, or a recipe that does: nothing is looked up in an earlier run."""
    asking = ("all", "init", "objects", "refine")
    examples = CliRunner().invoke(label_command, ["--help"]).output
    shown = [shlex.split(line) for line in examples.splitlines() if line.strip().startswith("vidaff label ")]
    for words in [*commands(), *shown]:
        step = words[2] if words[2] in (*asking, "similarity", "text", "parts", "report") else "all"
        if words[1] == "label" and step in asking:
            assert "--recipe" in words or {"--detector", "--segmenter"} <= set(words), words
        text = " ".join(words)
        assert "vlpart=" not in text or "part.detector.tokenizer=" in text
