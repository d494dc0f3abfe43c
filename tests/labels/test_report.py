"""The report of a labelling: its numbers, and a page that holds them in whatever state the folder is."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.test_report import Checker
from tests.toy_agd20k import write_toy_tree
from vidaff.datasets.agd20k.labels import LabelFolder
from vidaff.datasets.agd20k.tree import Picture
from vidaff.errors import VidaffError
from vidaff.io import write_image
from vidaff.labels.engine import Item, Outcome, SkipItem, find_items, mask_file, run_work
from vidaff.labels.report import Limits, write_label_report

HOSTILE = "<script>alert(1)<&script>'\".png"
SIZE = (24, 32)


def block(left: int, right: int) -> np.ndarray:
    """A mask of ten rows, from ``left`` to ``right``."""
    mask = np.zeros(SIZE, bool)
    mask[6:16, left:right] = True
    return mask


TRUTH, THING = block(4, 14), block(4, 24)
INITIAL = {
    "a.png": (0.9, TRUTH), "b.png": (None, None), "c.png": (0.3, block(4, 9)), HOSTILE: (0.8, THING),
    "e.png": (0.7, np.zeros(SIZE, bool)),
}  # fmt: skip
"""Score and label of every picture of ``hold knife``: right, no box, weak and half, twice too large, nothing marked."""
RAW = {"a.png": TRUTH, "b.png": TRUTH, "c.png": block(4, 14), HOSTILE: None, "e.png": None}
REFINED = {**RAW, "c.png": None}


class Step:
    """A step that gives what it is told."""

    def __init__(self, name: str, kind: str, given) -> None:
        self.name, self.kind, self.given = name, kind, given

    def setup(self) -> None:
        pass

    def run(self, item, image) -> Outcome:
        score, mask = self.given(item)
        box = [] if score is None else [[2.0, 4.0, 26.0, 18.0, score]]
        area = 0.0 if mask is None else round(float(mask.mean()), 4)
        record = {"queries": ["knife handle"], "boxes": box, "found": ["knife handle"] * len(box), "area": area}
        return Outcome([mask_file(self.kind, item.picture, mask)] if area else [], record)


def initial(item):
    if item.affordance == "dance":
        raise SkipItem("no part name for 'dance' of 'knife'")
    return INITIAL[item.file] if item.affordance == "hold" else (0.6, THING)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Five pictures of ``hold knife``, one of ``cut knife``, one of a pair without a part name; with true labels."""
    rows = [("hold", file) for file in INITIAL] + [("cut", "f.png"), ("dance", "g.png")]
    for affordance, file in rows:
        write_image(tmp_path / "pictures" / file, np.full((*SIZE, 3), 120, np.uint8))
        if affordance != "dance":
            LabelFolder(tmp_path / "truth").write_mask("initial", Picture(affordance, "knife", file), TRUTH)
    quoted = (f'"{file.replace(chr(34), chr(34) * 2)}",knife,{affordance}\n' for affordance, file in rows)
    (tmp_path / "pictures/table.csv").write_text("image,object,affordance\n" + "".join(quoted))
    return tmp_path


def label(table: Path, steps=("init", "objects", "refine", "clean"), **options) -> Path:
    out, items = table / "out", find_items(table / "pictures/table.csv")
    refined = [item for item in items if item.affordance == "hold"]
    works = {
        "init": (Step("init", "initial", initial), items),
        "objects": (Step("objects", "objects/egocentric", lambda item: (0.95, THING)), items),
        "refine": (Step("refine", "raw", lambda item: (None, RAW[item.file])), refined),
        "clean": (Step("clean", "refined", lambda item: (None, REFINED[item.file])), refined),
    }
    for step in steps:
        run_work(*works[step], out, hashes={}, max_skipped=1, progress=False, **options)
    return out


def report(table: Path, **options):
    out = table / "out"
    page, numbers = write_label_report(out, **{"data": table / "pictures/table.csv", **options})
    assert json.loads((page.parent / "report.json").read_text()) == numbers
    return check(page), numbers


def check(page: Path) -> str:
    """The page's text; it is balanced, escaped, and fetches nothing."""
    html, checker = page.read_text(encoding="utf-8"), Checker()
    checker.feed(html)
    checker.close()
    assert not checker.open and not checker.tags & {"script", "link", "iframe"}
    assert all(source.startswith("data:image/jpeg") for source in checker.sources)
    assert not re.search(r"https?://|url\((?!#)", re.sub(r'xmlns(:\w+)?="[^"]*"', "", html))
    return "\n".join(checker.texts)


def test_counts_say_what_was_done_and_what_was_not_found(table):
    label(table)
    text, numbers = report(table)
    assert numbers["pictures"] == {"egocentric": 7, "compared": 7, "labelled": 5, "refined": 2, "not_done": 0}
    assert numbers["steps"]["init"] == {
        "shards": 1, "items": 7, "done": 6, "labelled": 4, "skipped": {"no part name for 'dance' of 'knife'": 1},
    }  # fmt: skip
    parts = numbers["searches"]["parts"]
    assert {key: parts[key] for key in ("pictures", "found", "weak", "none", "unmarked")} == {
        "pictures": 6, "found": 4, "weak": 1, "none": 1, "unmarked": 1,
    }  # fmt: skip
    assert parts["queries"] == {"knife handle": {"asked": 6, "found": 4, "weak": 1, "none": 1}}
    assert sum(numbers["scores"]["counts"]["parts"]) == 5 and sum(numbers["areas"]["counts"]["initial"]) == 4
    assert "no part name for 'dance'" in text and "dance/knife/g.png" in text and HOSTILE in text


def test_agreement_counts_missing_labels_as_nothing(table):
    label(table)
    _, numbers = report(table, truth=table / "truth")
    refined = numbers["agreement"]["refined"]
    assert refined["pictures"] == 5 and refined["without_label"] == {"initial": 2, "raw": 2, "refined": 3, "used": 1}
    # a, c and the hostile one: 1, 0.5, 0.5; raw a, b, c: 1 each; refined a, b; used a, b, c (0.5), hostile (0.5).
    assert refined["iou"] == pytest.approx({"initial": 0.4, "raw": 0.6, "refined": 0.4, "used": 0.6})
    every = numbers["agreement"]["all"]
    assert every["pictures"] == 6 and every["iou"]["raw"] is None
    assert every["iou"]["initial"] == pytest.approx((2 + 0.5) / 6, abs=1e-4)
    assert numbers["classes"]["cut knife"]["agreement"]["iou"] == {
        "initial": 0.5, "raw": None, "refined": None, "used": 0.5,
    }  # fmt: skip
    assert numbers["worst"][0]["picture"] == "hold/knife/e.png" and numbers["worst"][-1]["badness"] == 0


def test_without_truth_the_suspect_come_first(table):
    label(table)
    text, numbers = report(table)
    why = {line["picture"]: line["why"] for line in numbers["worst"]}
    assert numbers["agreement"] == {"all": None, "refined": None} and "Agreement" not in text
    assert next(iter(why)) == "hold/knife/e.png" and why["hold/knife/e.png"] == [
        "the segmenter marked nothing in the box"
    ]
    assert why["hold/knife/c.png"] == ["the best box scores 0.30, below the threshold"]
    assert why[f"hold/knife/{HOSTILE}"][0] == "nearly the whole object: 100%"
    assert why["hold/knife/b.png"] == ["no initial label: no box was found"]


@pytest.mark.parametrize("steps", [("init",), ("objects",), ("init", "refine")])
def test_any_step_alone_has_a_report(table, steps):
    label(table, steps)
    text, numbers = report(table, truth=table / "truth")
    assert set(numbers["steps"]) == set(steps) and numbers["pictures"]["refined"] == 0
    assert ("Agreement with the truth" in text) == ("init" in steps)


def test_pictures_that_were_not_reached_count_for_nothing(table):
    out = label(table, ("init",), shard_size=4)
    lines = (out / "manifest/init.jsonl").read_text().splitlines(keepends=True)
    cut = json.loads(lines[1])
    (out / "manifest/init.jsonl").write_text(lines[0])
    for record in (out / f"records/init/{cut['shard']}.jsonl").read_text().splitlines():
        for file in json.loads(record)["files"]:
            (out / file).unlink()
    text, numbers = report(table, truth=table / "truth")
    assert numbers["pictures"]["not_done"] == 3 and "not finished" in text
    assert numbers["agreement"]["all"]["pictures"] < 4


def test_without_pictures_labels_are_shown_alone(table):
    out = label(table)
    text, numbers = report(table, data=None)
    assert numbers["pictures"]["labelled"] == 5 and "labels are shown alone" in text
    record = {"data": str(table / "pictures/table.csv"), "recipe": {"part": {"threshold": 0.2}, "object": None}}
    LabelFolder(out).write_record(record)
    text, numbers = report(table, data=None)
    assert "shown alone" not in text and numbers["searches"]["parts"]["weak"] == 0
    (table / "pictures/table.csv").unlink()
    assert "not where they were" in report(table, data=None)[0]


def test_limits_bound_the_page(table):
    label(table)
    full = report(table, to=table / "full")[0]
    assert "budget" not in full
    few, numbers = report(table, to=table / "few", limits=Limits(rows=1, compared=4, page_bytes=1))
    assert numbers["pictures"]["compared"] == 4 and "Masks of 4 of them" in few and "budget" in few
    sizes = [(table / name / "report.html").read_text().count("data:image") for name in ("full", "few")]
    assert sizes[1] < sizes[0] and not (table / "out/report.html").exists()


def test_equal_folders_give_equal_pages(table):
    label(table)
    pages = [write_label_report(table / "out", to=table / name)[0].read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_an_unreadable_mask_and_picture_are_told(table):
    out = label(table)
    (out / "initial/hold/knife/a.png").write_bytes(b"no picture")
    (table / "pictures/c.png").write_bytes(b"none either")
    text, numbers = report(table)
    assert "unreadable" in text and "not a readable picture" in text
    assert numbers["pictures"]["labelled"] == 4


def test_a_folder_with_the_authors_names_is_understood(tmp_path):
    tree = write_toy_tree(tmp_path / "toy", train=3, test=1)
    ours, authors = LabelFolder(tree / "Seen/trainset/labels"), tmp_path / "authors"
    for path in sorted(ours.folder.glob("initial/*/*/*.png")):
        place = authors / "PL" / path.relative_to(ours.folder / "initial").parent
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{path.stem}_pl.png").write_bytes(path.read_bytes())
    page, numbers = write_label_report(authors, data=tree, truth=ours.folder)
    assert "no records" in check(page) and numbers["agreement"]["all"]["iou"]["initial"] == 1
    _, numbers = write_label_report(ours.folder, data=tree, to=tmp_path)
    assert numbers["pictures"]["refined"] == 12


def test_what_cannot_be_reported_is_one_line(table):
    with pytest.raises(VidaffError, match="no such folder"):
        write_label_report(table / "none")
    (table / "empty").mkdir()
    with pytest.raises(VidaffError, match="name the pictures with --data"):
        write_label_report(table / "empty")
    with pytest.raises(VidaffError, match="holds no labels"):
        write_label_report(table / "empty", data=table / "pictures/table.csv")
    out = label(table, ("init",))
    with pytest.raises(VidaffError, match="true labels"):
        write_label_report(out, data=table / "pictures/table.csv", truth=table / "none")
    with pytest.raises(VidaffError, match="name it with --data"):
        write_label_report(out, csv=table / "pictures/table.csv")
    (out / "records/init/000000.jsonl").write_text('{"view": "egocentric", "record": {"boxes": [[1]]}}\n')
    with pytest.raises(VidaffError, match="records are not as vidaff label writes them") as raised:
        write_label_report(out, data=table / "pictures/table.csv")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("boxes", [[["x", 1, 2, 3, 0.5]], [[1, 2, 3]], [5], [[1, 2, 3, 10**400, 0.5]], [{}]])
def test_records_with_other_things_than_boxes_are_one_line(table, boxes):
    out = label(table, ("init",))
    path = out / "records/init/000000.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0]["record"]["boxes"] = boxes
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(VidaffError, match="records are not as vidaff label writes them") as raised:
        write_label_report(out, data=table / "pictures/table.csv")
    assert "\n" not in str(raised.value)


def test_a_record_of_settings_that_names_no_table_is_one_line(table):
    out = label(table, ("init",))
    LabelFolder(out).write_record({"data": str(table / "pictures"), "csv": 5})
    with pytest.raises(VidaffError, match=r"labels\.json: csv is no name of a file"):
        write_label_report(out)
    assert write_label_report(out, data=table / "pictures/table.csv")[1]["pictures"]["egocentric"] == 7


def test_file_names_that_are_no_text_are_shown_with_backslashes(tmp_path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    for name in (b"caf\xe9.png", b"b.png"):
        path = os.fsdecode(name)
        for view in ("egocentric", "exocentric"):
            write_image(tree / "Seen/trainset" / view / "hold/knife" / path, np.full((*SIZE, 3), 120, np.uint8))
        mask = out / "initial/hold/knife" / path
        write_image(mask, block(4, 14).astype(np.uint8) * 255)
    page, numbers = write_label_report(out, data=tree)
    assert numbers["pictures"]["egocentric"] == 2 and numbers["pictures"]["labelled"] == 2
    assert "caf\\udce9.png" in check(page) and "caf\\udce9.png" in (out / "report.json").read_text()


def test_similarities_are_counted_among_the_steps(table):
    out = label(table, ("init",))
    pairs = [Item("hold", "knife", ""), Item("cut", "knife", ""), Item("dance", "knife", "", problem="no boxes")]
    work, file = Step("similarity", "", None), ("similarity/hold_knife.safetensors", b"table")
    work.run = lambda item, image: Outcome([file] if item.affordance == "hold" else [])
    run_work(work, pairs, out, hashes={}, shard_size=1, max_skipped=1, progress=False)
    text, numbers = report(table)
    assert numbers["steps"]["similarity"] == {
        "shards": 3, "items": 3, "done": 2, "labelled": 1, "skipped": {"no boxes": 1},
    }  # fmt: skip
    assert "similarities (of pairs): no boxes" in text and "hold knife" in text


def test_a_chart_that_is_cut_says_so(tmp_path):
    rows = ["image,object,affordance\n", *(f"a.png,knife,do{number:02}\n" for number in range(50))]
    write_image(tmp_path / "a.png", np.full((*SIZE, 3), 120, np.uint8))
    (tmp_path / "table.csv").write_text("".join(rows))
    for item in find_items(tmp_path / "table.csv"):
        for folder in ("out", "truth"):
            LabelFolder(tmp_path / folder).write_mask("initial", item.picture, TRUTH)
    page, _ = write_label_report(
        tmp_path / "out", data=tmp_path / "table.csv", truth=tmp_path / "truth", limits=Limits(rows=1, page_bytes=1)
    )
    assert "The first 48 of 50 affordances." in check(page)
