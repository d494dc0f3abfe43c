"""What the engine takes in: trees, tables, tar archives, and pictures of every kind."""

from __future__ import annotations

import csv
import io
import json
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.labels.engine_works import HASHES, Dark, tree
from tests.toy_agd20k import write_toy_tree
from vidaff.datasets.agd20k import Agd20kTree
from vidaff.errors import VidaffError
from vidaff.io import read_image, read_label_image, write_image
from vidaff.labels.engine import (
    Item,
    Source,
    csv_items,
    encode_mask,
    find_items,
    mask_file,
    read_item,
    run_work,
    tar_items,
    tree_items,
)

RED_GREEN = np.array([[[250, 10, 10]] * 24, [[10, 250, 10]] * 24], np.uint8).repeat(12, 0)  # (24, 24, 3), red on top


def item_of(path: Path) -> Item:
    return Item("hold", "cup", path.name, source=Source(str(path)))


# Trees


def test_pictures_of_a_tree(tmp_path: Path) -> None:
    write_toy_tree(tmp_path, train=2, test=1)
    found = tree_items(Agd20kTree(tmp_path, "seen"), ("exocentric", "egocentric"))
    assert len(found) == 4 * (2 + 3)
    assert [item.key for item in found] == sorted(item.key for item in found)
    assert found[0].name == "cut_with/knife/knife_0000.png" and found[0].picture.stem == "knife_0000"
    assert found == find_items(tmp_path, views=("egocentric", "exocentric"))
    assert find_items(tmp_path) == [item for item in found if item.view == "egocentric"]
    assert (read_item(found[0]) == read_image(found[0].source.path)).all()


def test_two_pictures_of_one_label(tmp_path: Path) -> None:
    write_toy_tree(tmp_path, train=2, test=1)
    first = next(iter(sorted((tmp_path / "Seen/trainset/egocentric/cut_with/knife").iterdir())))
    first.with_suffix(".jpg").write_bytes(first.read_bytes())
    problems = [(item.file, item.problem) for item in find_items(tmp_path) if item.problem]
    assert problems == [("knife_0000.png", "its label would take the place of that of knife_0000.jpg")]


@pytest.mark.parametrize(("options", "message"), [
    ({"views": ("overhead",)}, "the views are"), ({"part": (0, 2)}, "only tar archives are divided"),
    ({"split": "test"}, "the splits are"), ({"csv": "none.csv"}, "none.csv: not readable as CSV"),
])  # fmt: skip
def test_inputs_that_cannot_be(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(VidaffError, match=message):
        find_items(tmp_path, **options)


# Tables


def test_a_table_in_the_order_of_its_names(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    rows = ["Affordance, image,object,note,view", "hold,b/c.JPG,wine glass,x,", "", 'hold,a.png,cup,"y,\nz",exocentric']
    table.write_text("\ufeff" + "\r\n".join(rows), newline="")
    (tmp_path / "pictures").mkdir()
    first, second = csv_items(table, tmp_path / "pictures")
    assert (first.key, first.source) == (
        "egocentric/hold/wine glass/b__c.JPG", Source(str(tmp_path / "pictures/b/c.JPG")))  # fmt: skip
    assert second.key == "exocentric/hold/cup/a.png"
    assert find_items(tmp_path / "pictures", csv=table) == [first]
    assert [item.name for item in find_items(table, views=("exocentric",))] == ["hold/cup/a.png"]


@pytest.mark.parametrize(("text", "message"), [
    ("", "must name the column 'image' once"),
    ("image,object\na.png,cup\n", "must name the column 'affordance' once"),
    ("image,object,affordance,image\n", "must name the column 'image' once"),
    ("image,object,affordance\n", "names no pictures"),
    ("image,object,affordance\na.png,cup\n", "row 2: 2 values for 3 columns"),
    ("image,object,affordance\na.png,cup,hold\n../a.png,cup,hold\n", "row 3: the image '../a.png' is not below"),
    ("image,object,affordance\n/a.png,cup,hold\n", "row 2: the image '/a.png' is not below"),
    ("image,object,affordance\na.txt,cup,hold\n", "no ending of a picture"),
    ("image,object,affordance\n,cup,hold\n", "row 2: the image '' cannot name a file"),
    ("image,object,affordance\na.png,,hold\n", "row 2: the object '' cannot name a file"),
    ("image,object,affordance\na.png,cup,../hold\n", "the affordance '../hold' cannot name a file"),
    ("image,object,affordance\na.png,cu\x00p,hold\n", "the object"),
    ("image,object,affordance\na.png," + "c" * 201 + ",hold\n", "longer than 200 bytes"),
    ("image,object,affordance\na.png," + "c" * 5000 + ",hold\n", "field larger than field limit"),
    ("image,object,affordance\na.png,cup,hold\na.jpg,cup,hold\n", "row 3: its label would take the place .* row 2"),
    ("image,object,affordance,view\na.png,cup,hold,above\n", "row 2: the view 'above' is neither"),
    ('image,object,affordance\n"a.png,cup,hold\n', "not readable as CSV"),
])  # fmt: skip
def test_tables_with_mistakes(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "list.csv"
    table.write_text(text)
    with pytest.raises(VidaffError, match=message) as caught:
        csv_items(table, tmp_path)
    assert str(table) in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"image,object,affordance\n\xff\xfe,cup,hold\n")
    with pytest.raises(VidaffError, match="not readable as CSV"):
        csv_items(tmp_path / "list.csv", tmp_path)
    with pytest.raises(VidaffError, match="not readable as CSV"):
        csv_items(tmp_path, tmp_path)


CELL = st.one_of(st.sampled_from(["a.png", "b/c.jpg", "cup", "hold", "..", "/", ""]), st.text(max_size=8))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=4), st.booleans())
def test_any_table_gives_items_or_one_line(rows: list[list[str]], headed: bool) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["image", "object", "affordance"], *rows] if headed else rows)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "t.csv"
        table.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
        try:
            items = csv_items(table, folder)
        except VidaffError as error:
            assert "\n" not in str(error)
            return
    assert items == sorted(items, key=lambda item: item.key)
    for item in items:
        assert item.name.count("/") == 2 and ".." not in item.name.split("/")
        assert Path(item.source.path).resolve().is_relative_to(Path(folder).resolve())


# Tar archives


def png(image: np.ndarray = RED_GREEN) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def write_tar(path: Path, members: dict[str, bytes | dict], **options) -> Path:
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


LABEL = {"object": "cup", "affordance": "hold"}


def test_samples_of_archives(tmp_path: Path) -> None:
    write_tar(tmp_path / "b.tar", {"000.png": png(), "000.json": LABEL, "000.txt": b"a cup"})
    write_tar(tmp_path / "a.tar", {
        "x/1.json": {**LABEL, "view": "exocentric"}, "x/1.jpg": png(), "x/0.json": LABEL, "x/0.PNG": png(),
        "x/0.seg.png": b"not the picture",
    })  # fmt: skip
    found = find_items(tmp_path, views=("egocentric", "exocentric"))
    assert [item.name for item in found] == ["hold/cup/a__x__0.png", "hold/cup/a__x__1.jpg", "hold/cup/b__000.png"]
    assert found[1].view == "exocentric"
    for item in found:
        assert (read_item(item) == RED_GREEN).all()
    assert find_items(tmp_path, part=(1, 2)) == [found[2]] == find_items(tmp_path / "b.tar")
    run_work(Dark(), find_items(tmp_path), tmp_path / "out", hashes=HASHES, progress=False)
    assert "initial/hold/cup/a__x__0.png" in tree(tmp_path / "out")


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def test_hostile_and_broken_members_are_skipped(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {
        "../../up.png": png(), "../../up.json": LABEL, "/etc/root.png": png(), "/etc/root.json": LABEL,
        "good.png": png(), "good.json": LABEL, "lonely.png": png(), "words.json": LABEL,
        "list.json": b"[]", "list.png": png(), "deep.json": b"[" * 90000, "deep.png": png(),
        "number.json": {"object": 7, "affordance": "hold"}, "number.png": png(),
        "path.json": {"object": "../../x", "affordance": "hold"}, "path.png": png(),
        "view.json": {**LABEL, "view": "x"}, "view.png": png(), "empty.json": b"", "empty.png": png(),
        "big.json": b" " * (2**20 + 1), "big.png": png(), "a__b.png": png(), "a__b.json": LABEL,
        "a/b.jpg": png(), "a/b.json": LABEL, "new\nline.png": png(), "new\nline.json": LABEL,
    })  # fmt: skip
    with tarfile.open(path, "a") as archive:
        archive.addfile(link("link.png", "/etc/passwd"))
        archive.addfile(tarfile.TarInfo("link.json"))
    items = tar_items([path])
    assert sorted(item.name for item in items if not item.problem) == ["hold/cup/a__a__b.jpg", "hold/cup/a__good.png"]
    reasons = " ".join(item.problem for item in items)
    for text in (
        "the key '..' cannot", "the key '' cannot", "no JSON beside its picture", "no picture beside its JSON",
        "is not {", "JSON is not readable", "the object '../../x'", "the view 'x'", "larger than 1 MiB",
        "empty or cut short", "the key 'new\\nline'", "take the place of that of a__a__b.jpg",
    ):  # fmt: skip
        assert text in reasons
    summary = run_work(Dark(), items, tmp_path / "out", hashes=HASHES, progress=False, max_skipped=len(items))
    assert summary.done == 2 and len(summary.skipped) == len(items) - 2
    assert all(key.count("\n") == 0 and ".." not in key.split("/") for key, _ in summary.skipped)
    masks = [name for name in tree(tmp_path / "out") if name.startswith("initial")]
    assert masks == ["initial/hold/cup/a__a__b.png", "initial/hold/cup/a__good.png"]


def test_an_archive_that_breaks_off_keeps_what_is_whole(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0.png": png(), "0.json": LABEL, "1.json": LABEL, "1.png": png()})
    whole = path.read_bytes()
    path.write_bytes(whole[: 3 * 1024 + 512 + 30])  # within the last picture
    end, first, second = sorted(tar_items([path]), key=lambda item: item.name)
    assert (first.name, second.name) == ("hold/cup/a__0.png", "hold/cup/a__1.png")
    assert end.problem == "the archive breaks off (unexpected end of data)"
    with pytest.raises(VidaffError, match="empty or cut short"):
        read_item(second)
    path.write_bytes(whole[: 3 * 1024 + 100])  # within its header
    problems = [item.problem for item in tar_items([path])]
    assert problems == ["no picture beside its JSON", ""]


@pytest.mark.parametrize("options", [{"data": b"no archive at all" * 100}, {"data": b""}, {"data": None}])
def test_files_that_are_no_archives(tmp_path: Path, options: dict) -> None:
    if options["data"] is not None:
        (tmp_path / "a.tar").write_bytes(options["data"])
    with pytest.raises(VidaffError, match=r"a\.tar"):
        find_items(tmp_path / "a.tar")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(VidaffError, match="not readable as a plain tar archive"):
        tar_items([path])


def test_archives_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(VidaffError, match="two archives of one name"):
        tar_items([write_tar(tmp_path / "a.tar", {"0.png": png()}), write_tar(tmp_path / "x/a.tar", {"0.png": png()})])


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30
    with open(tmp_path / "a.tar", "wb") as file:
        file.write(long_name.tobuf(tarfile.GNU_FORMAT))
        file.truncate(9 * 2**30)  # sparse on the disk
    with pytest.raises(VidaffError, match="a header of"):
        tar_items([tmp_path / "a.tar"])


GOOD = write_tar(Path(tempfile.mkdtemp()) / "a.tar", {"0.png": png(RED_GREEN[:4, :4]), "0.json": LABEL, "é" * 60: b"x"},
                 format=tarfile.PAX_FORMAT).read_bytes()  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=12), st.booleans())
def test_any_damage_gives_items_or_one_line(damage: list[tuple[int, int]], mend: bool) -> None:
    data = bytearray(GOOD)
    for place, value in damage:
        data[place % 2048 if mend else place] = value
    for start in range(0, 2048 if mend else 0, 512):  # checksums that fit, so that the fields are believed
        header = bytes(data[start : start + 148]) + b" " * 8 + bytes(data[start + 156 : start + 512])
        data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(data)
        try:
            items = tar_items([path])
        except VidaffError as error:
            assert "\n" not in str(error)
            return
        for item in items:
            assert ".." not in item.key.split("/")
            if not item.problem:
                try:
                    read_item(item)
                except VidaffError as error:
                    assert "\n" not in str(error)


# Pictures


def test_every_kind_of_picture_becomes_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(RED_GREEN)
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    picture.convert("L").save(tmp_path / "grey.png")
    picture.convert("RGBA").save(tmp_path / "alpha.png")
    picture.convert("P").save(tmp_path / "palette.png")
    picture.save(tmp_path / "plain.webp", lossless=True)
    picture.save(tmp_path / "plain.bmp")
    cv2.imwrite(str(tmp_path / "deep.png"), RED_GREEN[..., ::-1].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = picture.rotate(90)
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.new("RGB", (1, 1), (9, 9, 9)).save(tmp_path / "one.png")
    for path in tmp_path.iterdir():
        image = read_item(item_of(path))
        assert image.dtype == np.uint8 and image.shape == ((1, 1, 3) if path.stem == "one" else (24, 24, 3)), path.name
        if path.stem not in ("one", "grey"):
            assert np.abs(image[6, 12].astype(int) - (250, 10, 10)).max() < 50, path.name
            assert np.abs(image[18, 12].astype(int) - (10, 250, 10)).max() < 50, path.name


def bomb() -> bytes:
    """Some bytes that claim to be 30000x30000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    size = (30000).to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size * 2 + b"\x08\x02\0\0\0") + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("data", "reason"), [
    (bomb(), "30000x30000 pixels, more than 100000000 are refused"), (b"", "empty or cut short"),
    (png()[:-20], "truncated PNG"), (b"\xff\xd8\xff\xe0nothing", "truncated JPEG"), (b"text", "not a readable picture"),
    (b"\x89PNG\r\n\x1a\n" + bytes(40) + b"IEND", "not a readable picture"), (None, "no such file"),
])  # fmt: skip
def test_bad_pictures_have_a_reason(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "a.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VidaffError, match=reason) as caught:
        read_item(item_of(path))
    assert str(tmp_path) not in str(caught.value)


def test_a_file_as_large_as_no_picture(tmp_path: Path) -> None:
    with open(tmp_path / "a.png", "wb") as file:
        file.truncate(257 * 2**20)
    with pytest.raises(VidaffError, match="larger than 256 MiB"):
        read_item(item_of(tmp_path / "a.png"))


# Masks


def test_masks_come_back_as_they_went(tmp_path: Path) -> None:
    mask = np.zeros((37, 51), bool)
    mask[3:20, 5:40] = True
    item = item_of(tmp_path / "a.jpg")
    name, data = mask_file("initial", item.picture, mask)
    assert name == "initial/hold/cup/a.png"
    (tmp_path / "a.png").write_bytes(data)
    assert (read_label_image(tmp_path / "a.png") == mask * np.uint8(255)).all()
    assert encode_mask(mask.astype(np.uint8) * 255) == data
    write_image(tmp_path / "b.png", mask.astype(np.uint8) * 255)
    assert len(data) <= (tmp_path / "b.png").stat().st_size


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 3), bool), np.zeros((2, 2), np.float32), np.zeros((0, 2), bool)])
def test_masks_that_are_none(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask must be"):
        encode_mask(mask)
    with pytest.raises(ValueError, match="kind must be"):
        mask_file("boxes", item_of(Path("a.jpg")).picture, np.zeros((2, 2), bool))


def test_the_engine_does_not_load_torch() -> None:
    import subprocess

    code = "import sys, vidaff.labels.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
