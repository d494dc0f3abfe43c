"""``vidaff label`` at the command line: steps, part names, and one clear line for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vidaff.cli.label import STEPS, command
from vidaff.errors import VidaffError
from vidaff.io import read_label_image, write_image


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=True)
    if isinstance(result.exception, VidaffError):
        raise result.exception
    assert not result.exit_code, result.output + repr(result.exception)
    return result.output


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures with a table, boxes and masks."""
    for name in ("a", "b"):
        write_image(tmp_path / f"pictures/{name}.png", np.zeros((20, 30, 3), np.uint8))
        write_image(
            tmp_path / f"masks/hold/knife/{name}.png", np.pad(np.full((6, 8), 255, np.uint8), ((3, 11), (3, 19)))
        )
    (tmp_path / "pictures/table.csv").write_text("image,object,affordance\na.png,knife,hold\nb.png,knife,hold\n")
    boxes = {f"hold/knife/{name}.png": [[2, 2, 12, 10, 0.9]] for name in ("a", "b")}
    (tmp_path / "boxes.json").write_text(json.dumps({"format": "vidaff-boxes", "version": 1, "boxes": boxes}))
    return tmp_path


def tools(folder: Path) -> list[object]:
    return ["--detector", f"file={folder / 'boxes.json'}", "--segmenter", f"file={folder / 'masks'}", "--quiet"]


def test_steps_are_those_of_the_chain():
    from vidaff.labels import chain

    assert chain.STEPS == STEPS


@pytest.mark.parametrize("step", [["init"], ["all", "--only", "init"], ["--only", "init"]])
def test_initial_labels_of_a_table(pictures, step):
    out = pictures / "out"
    if step[0].startswith("--"):
        shown = invoke(pictures / "pictures/table.csv", *step, "--out", out, *tools(pictures))
    else:
        shown = invoke(step[0], pictures / "pictures/table.csv", *step[1:], "--out", out, *tools(pictures))
    assert shown.startswith("init: 2 of 2")
    assert read_label_image(out / "initial/hold/knife/a.png").sum() == 48 * 255


def test_pictures_without_exocentric_ones_get_what_can_be_made(pictures):
    spelling = ["--set", "text.kind=spelling", "--set", "text.source=null"]
    shown = invoke(pictures / "pictures/table.csv", "--out", pictures / "out", *tools(pictures), *spelling)
    assert "nothing is refined" in shown and [line.split(":")[0] for line in shown.splitlines()[1:]] == [
        "init",
        "objects",
        "text",
        "report",
    ]
    assert (pictures / "out/text.safetensors").is_file() and (pictures / "out/labels.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detector", "yolo=x"], "KIND is one of vlpart"),
        (["--set", "part.thresold=1"], "part.thresold: unknown key"),
        (["--set", "refine.train.epochs=0"], "refine.train.epochs"),
        (["--recipe", "refine"], "is of the model refine"),
        (["--workers", "3"], "take 'processes'"),
        (["--detector", "vlpart=missing.pth"], "missing.pth"),
    ],
)
def test_what_cannot_be_is_one_line(pictures, arguments, message):
    with pytest.raises(VidaffError, match=message) as raised:
        invoke("init", pictures / "pictures/table.csv", "--out", pictures / "out", *tools(pictures), *arguments)
    assert "\n" not in str(raised.value)


def test_pairs_without_a_part_name_are_listed_asked_for_and_learned(pictures):
    table, prompt, answer, parts = (pictures / name for name in ("t.csv", "prompt.txt", "answer.json", "parts.yaml"))
    table.write_text("object,affordance\nknife,hold\nkettle,pour\n")
    assert invoke("parts", "--from", table, "--prompt", prompt).splitlines()[:2] == [
        "pour kettle", "1 of 2 pairs have no part name",
    ]  # fmt: skip
    assert "kettle" in prompt.read_text()
    answer.write_text(json.dumps([{"affordance": "pour", "object": "kettle", "parts": ["kettle spout"]}]))
    assert "1 part names" in invoke("parts", "--from", table, "--answer", answer, "--out", parts)
    assert invoke("parts", "--from", table, "--parts", parts) == "0 of 2 pairs have no part name\n"
    with pytest.raises(VidaffError, match="go together"):
        invoke("parts", "--from", table, "--answer", answer)


def test_a_run_ends_with_a_report_unless_told_otherwise(pictures):
    out, data = pictures / "out", pictures / "pictures/table.csv"
    shown = invoke("all", data, "--only", "init", "--out", out, "--no-report", *tools(pictures))
    assert "report" not in shown and not (out / "report.html").exists()
    shown = invoke("all", data, "--only", "init", "--out", out, *tools(pictures))
    assert shown.splitlines()[-1] == f"report: {out / 'report.html'}" and (out / "report.html").stat().st_size > 5000
    numbers = json.loads(invoke("report", out, "--json", "--quiet", "--to", pictures / "elsewhere"))
    assert numbers["pictures"]["labelled"] == 2 and numbers["searches"]["parts"]["found"] == 2
    assert json.loads((pictures / "elsewhere/report.json").read_text()) == numbers
    with pytest.raises(VidaffError, match="no such folder"):
        invoke("report", pictures / "missing")


def test_a_report_that_cannot_be_written_fails_no_run(pictures):
    out = pictures / "out"
    (out / "report.html").mkdir(parents=True)
    shown = invoke("all", pictures / "pictures/table.csv", "--only", "init", "--out", out, *tools(pictures))
    assert "report: not written" in shown and shown.startswith("init: 2 of 2")


def test_a_run_that_fails_has_a_report_too(pictures):
    out, data = pictures / "out", pictures / "pictures/table.csv"
    data.write_text(data.read_text() + "gone.png,knife,hold\n")
    with pytest.raises(VidaffError, match="more than --max-skipped 0"):
        invoke("all", data, "--only", "init", "--out", out, *tools(pictures))
    numbers = json.loads((out / "report.json").read_text())
    assert numbers["steps"]["init"]["skipped"] == {"no such file": 1} and (out / "report.html").is_file()
    (out / "report.html").unlink()
    with pytest.raises(VidaffError, match="different settings"):  # nothing was done: there is nothing to report
        invoke("all", data, "--only", "init", "--out", out, *tools(pictures), "--set", "part.threshold=0.9")
    assert not (out / "report.html").exists()


def test_gpus_are_of_rays_actors(pictures):
    for engine in ("local", "processes"):
        with pytest.raises(VidaffError, match="of the engine 'ray', not"):
            invoke("init", pictures / "pictures/table.csv", "--out", pictures / "out", *tools(pictures),
                   "--engine", engine, "--gpus", "2")  # fmt: skip
