"""The engine on a folder of an earlier run: nothing that was done is lost unasked, nothing that holds is done again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.labels.engine_works import HASHES, Dark, add_row, tree, write_pictures
from tests.labels.test_engine import run
from vidaff.errors import VidaffError
from vidaff.labels.engine import Basis, csv_items, read_manifest, read_records, run_work


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def out(table: Path, tmp_path: Path) -> Path:
    """A finished run."""
    run(table, tmp_path / "out")
    return tmp_path / "out"


class Fails(Dark):
    """Ends the run at one picture."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.fatal = name

    def run(self, item, image):
        if item.file == self.fatal:
            raise RuntimeError("out of memory")
        return super().run(item, image)


def put_in(table: Path, *names: str) -> None:
    for name in names:
        add_row(table, name, (table.parent / "sub0/p000.png").read_bytes())


def fresh(table: Path, out: Path, **options) -> dict[str, bytes]:
    run(table, out, **options)
    return tree(out)


def test_pictures_that_are_put_in_are_done_alone(table: Path, out: Path, tmp_path: Path) -> None:
    put_in(table, "a.png", "sub0/p0001.png")  # near the front: all that follow move on by two places
    summary = run(table, out)
    assert (summary.ran, summary.done) == (2, 22)
    assert tree(out) == fresh(table, tmp_path / "fresh")
    assert run(table, out).reused == 8


def test_a_run_that_is_broken_off_while_it_takes_over_loses_nothing(table: Path, out: Path, tmp_path: Path) -> None:
    put_in(table, "a.png", "b.png")
    with pytest.raises(VidaffError, match="out of memory"):
        run(table, out, Fails("b.png"))
    shutil.move(table.parent / "sub1", tmp_path / "gone")  # what was done cannot be done again now
    summary = run(table, out)
    assert summary.ran <= 2 and summary.done == 22
    shutil.move(tmp_path / "gone", table.parent / "sub1")
    assert run(table, out).ran == 0
    assert tree(out) == fresh(table, tmp_path / "fresh")


def test_pictures_that_cannot_be_read_keep_what_was_made_of_them(table: Path, out: Path) -> None:
    before = tree(out)
    for folder in ("sub0", "sub1"):
        shutil.rmtree(table.parent / folder)
    summary = run(table, out)
    assert (summary.reused, summary.done, summary.skipped) == (7, 20, [])
    assert tree(out) == before
    run(table, out, overwrite=True)
    assert tree(out) == before


def test_lost_pictures_need_overwrite(table: Path, out: Path, tmp_path: Path) -> None:
    before = tree(out)
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join([*rows[:3], *rows[4:-1]]))
    message = r"the step dark was done here for other pictures, 2 not among them now \(egocentric/cut/.*--overwrite"
    with pytest.raises(VidaffError, match=message):
        run(table, out)
    assert tree(out) == before
    summary = run(table, out, overwrite=True)
    assert (summary.ran, summary.done) == (0, 18)
    assert tree(out) == fresh(table, tmp_path / "fresh")


def test_other_data_do_not_wipe_a_folder(table: Path, out: Path, tmp_path: Path) -> None:
    before = tree(out)
    other = write_pictures(tmp_path / "other", 2)
    other.write_text(other.read_text().replace("knife", "axe").replace("cup", "mug"))
    with pytest.raises(VidaffError, match="20 not among them now"):
        run(other, out)
    assert tree(out) == before


def test_a_picture_that_is_painted_over_in_its_size_has_changed(table: Path, tmp_path: Path) -> None:
    put_in(table, "a.png")
    picture = table.parent / "a.png"
    run(table, tmp_path / "out")
    whole = picture.read_bytes()
    picture.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    with pytest.raises(VidaffError, match=r"1 changed since \(egocentric/hold/cup/a.png\); pass --overwrite"):
        run(table, tmp_path / "out")
    run(table, tmp_path / "out", overwrite=True, max_skipped=1)
    assert tree(tmp_path / "out") == fresh(table, tmp_path / "fresh", max_skipped=1)
    shutil.copytree(table.parent, tmp_path / "copy")  # of another date, and the same
    assert run(tmp_path / "copy/pictures.csv", tmp_path / "out", max_skipped=1).ran == 0


def test_what_could_not_be_read_is_tried_again_when_it_has_changed(table: Path, tmp_path: Path) -> None:
    add_row(table, "late.png")
    assert run(table, tmp_path / "out", max_skipped=1).done == 20
    shutil.copy(table.parent / "sub0/p000.png", table.parent / "late.png")
    summary = run(table, tmp_path / "out")
    assert (summary.ran, summary.done) == (1, 21)
    assert tree(tmp_path / "out") == fresh(table, tmp_path / "fresh")


def test_an_overwriting_run_that_is_broken_off_goes_on(table: Path, out: Path, tmp_path: Path) -> None:
    other = {**HASHES, "model": "x"}
    fatal = csv_items(table, table.parent)[10].file
    with pytest.raises(VidaffError, match="out of memory"):
        run(table, out, Fails(fatal), hashes=other, overwrite=True)
    summary = run(table, out, hashes=other, overwrite=True)
    assert (summary.reused, summary.ran) == (3, 11)
    assert tree(out) == fresh(table, tmp_path / "fresh", hashes=other)


def test_what_was_taken_over_is_removed_by_an_overwriting_run(table: Path, out: Path, tmp_path: Path) -> None:
    put_in(table, "a.png", "b.png")
    with pytest.raises(VidaffError, match="out of memory"):
        run(table, out, Fails("a.png"))
    other = {**HASHES, "model": "x"}
    with pytest.raises(VidaffError, match="different model"):
        run(table, out, Dark(below=0), hashes=other)
    run(table, out, Dark(below=0), hashes=other, overwrite=True)  # marks nothing
    assert not (out / "initial").exists()
    run(table, tmp_path / "fresh", Dark(below=0), hashes=other)
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_missing_disk_does_not_lose_what_stands_beside_bad_pictures(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    add_row(table, "bad.png", b"no picture")
    run(table, out, max_skipped=1)
    before = tree(out / "initial")
    shutil.move(table.parent / "sub0", tmp_path / "sub0")
    shutil.move(table.parent / "bad.png", tmp_path / "bad.png")
    summary = run(table, out, max_skipped=1)
    assert (summary.done, len(summary.skipped)) == (20, 1)
    assert tree(out / "initial") == before


def test_overwrite_makes_labels_that_are_gone(table: Path, out: Path) -> None:
    before = tree(out)
    next((out / "initial").rglob("*.png")).unlink()
    assert run(table, out, overwrite=True).ran == 1
    assert tree(out) == before


def test_a_basis_concerns_its_items_only(table: Path, tmp_path: Path) -> None:
    names = {"knife": "blade", "cup": "handle"}
    out, basis = tmp_path / "out", Basis("part names", lambda item: names[item.object])
    run(table, out, basis=basis)
    names["knife"] = "edge"
    with pytest.raises(VidaffError, match=r"6 with other part names now \(egocentric/cut/knife/"):
        run(table, out, basis=basis)
    assert run(table, out, basis=basis, overwrite=True).ran == 6
    names["mug"] = "rim"
    table.write_text(table.read_text() + "sub0/p000.png,mug,hold\n")
    assert run(table, out, basis=basis).ran == 1
    assert tree(out) == fresh(table, tmp_path / "fresh", basis=basis)


def test_archives_are_made_as_a_whole(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(table, out, archive=True)
    put_in(table, "z.png")
    summary = run(table, out, archive=True)
    assert summary.done == 21 and summary.reused >= 4
    assert tree(out) == fresh(table, tmp_path / "fresh", archive=True)
    before = tree(out)
    put_in(table, "a.png")
    shutil.move(table.parent / "sub1", tmp_path / "gone")
    with pytest.raises(VidaffError, match="cannot be read now"):
        run(table, out, archive=True)
    assert tree(out) == before


def test_shards_beyond_six_digits_stay_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidaff.labels.engine import run as run_module
    from vidaff.labels.engine.shards import make_shards

    def late(*arguments):
        return [shard._replace(name=f"{int(shard.name) + 999_998:06}") for shard in make_shards(*arguments)]

    monkeypatch.setattr(run_module, "make_shards", late)
    table = write_pictures(tmp_path / "pictures")
    items = csv_items(table, table.parent)
    for _ in range(2):
        run_work(Dark(), items, tmp_path / "out", hashes=HASHES, shard_size=5, progress=False)
    names = [line["shard"] for line in read_manifest(tmp_path / "out", "dark")]
    assert names == ["999998", "999999", "1000000", "1000001"]
    assert [record["name"] for record in read_records(tmp_path / "out", "dark")] == [item.name for item in items]


def test_overwrite_tries_again_what_was_skipped(table: Path, tmp_path: Path) -> None:
    add_row(table, "sub0/skip.png", (table.parent / "sub0/p000.png").read_bytes())
    assert len(run(table, tmp_path / "out", max_skipped=1).skipped) == 1
    assert run(table, tmp_path / "out", max_skipped=1).ran == 0
    assert 0 < run(table, tmp_path / "out", max_skipped=1, overwrite=True).ran < 21


def test_a_disk_that_goes_away_in_a_shard_is_no_damaged_picture(table: Path, tmp_path: Path, monkeypatch) -> None:
    from vidaff.labels.engine import shards

    away = tmp_path / "away.png"
    picture = table.parent / "sub0/p000.png"
    real = shards._results

    def gone(*arguments):
        picture.rename(away) if picture.exists() else None
        return real(*arguments)

    monkeypatch.setattr(shards, "_results", gone)
    assert run(table, tmp_path / "out", max_skipped=1).done == 19
    monkeypatch.undo()
    away.rename(picture)
    assert run(table, tmp_path / "out").done == 20
    assert tree(tmp_path / "out") == fresh(table, tmp_path / "fresh")
