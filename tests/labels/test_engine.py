"""The engine: equal results from every engine, rerun after anything, and nothing half-written."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.labels.engine_works import HASHES, Dark, DarkTogether, NoModels, Placed, add_row, tree, write_pictures
from vidaff.errors import VidaffError
from vidaff.labels.engine import (
    Engine,
    csv_items,
    hash_code,
    hash_files,
    hash_value,
    lock_folder,
    pair_items,
    read_manifest,
    read_records,
    run_work,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures")


def run(table: Path, out: Path, work=None, **options):
    items = csv_items(table, table.parent)
    options = {"hashes": HASHES, "shard_size": 3, "progress": False, **options}
    return run_work(work or Dark(), items, out, **options)


def test_what_is_written(table: Path, tmp_path: Path) -> None:
    summary = run(table, tmp_path / "out")
    assert (summary.items, summary.done, summary.shards, summary.reused) == (20, 20, 7, 0)
    assert summary.text().startswith("dark: 20 of 20 done, ")
    lines = read_manifest(tmp_path / "out", "dark")
    assert [line["shard"] for line in lines] == [f"{index:06}" for index in range(7)]
    assert lines[0]["first"] == "egocentric/cut/knife/sub0__p002.png"
    records = list(read_records(tmp_path / "out", "dark"))
    assert [record["name"] for record in records] == [item.name for item in csv_items(table, table.parent)]
    for record in records:
        mask = cv2.imread(str(tmp_path / "out" / record["files"][0]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).sum() == record["record"]["area"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock", "initial", "manifest", "records", "timings"
    ]  # fmt: skip


def test_groups_and_processes_give_the_same_bytes(table: Path, tmp_path: Path) -> None:
    add_row(table, "sub0/skip.png", (table.parent / "sub0/p000.png").read_bytes())
    run(table, tmp_path / "one", max_skipped=1)
    run(table, tmp_path / "groups", DarkTogether(), max_skipped=1)
    run(table, tmp_path / "two", engine=Engine("processes", workers=2), max_skipped=1)
    expected = tree(tmp_path / "one")
    assert len(expected) == 20 + 7 + 1
    assert tree(tmp_path / "groups") == expected
    assert tree(tmp_path / "two") == expected


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray cluster of this machine, which the runs join: to start one takes longer than all of them."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=2**28)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_ray_gives_the_same_bytes(table: Path, tmp_path: Path) -> None:
    add_row(table, "sub0/skip.png", (table.parent / "sub0/p000.png").read_bytes())
    run(table, tmp_path / "one", max_skipped=1)
    run(table, tmp_path / "ray", engine=Engine("ray", workers=2), max_skipped=1)
    assert tree(tmp_path / "ray") == tree(tmp_path / "one")


@pytest.mark.usefixtures("cluster")
def test_failures_on_ray_are_one_line(table: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"^weights.pt: no such file$"):
        run(table, tmp_path / "none", NoModels(), engine=Engine("ray"))


@pytest.mark.usefixtures("cluster")
def test_a_dead_actor_names_its_shard(table: Path, tmp_path: Path) -> None:
    add_row(table, "sub0/die.png", (table.parent / "sub0/p000.png").read_bytes())
    with pytest.raises(VidaffError, match=r"^ray: 2 actors died in shard 00000\d \(egocentric/"):
        run(table, tmp_path / "dead", engine=Engine("ray"))


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(table: Path, tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match=r"vidaff\[ray\]"):
        run(table, tmp_path / "out", engine=Engine("ray"))


def test_a_rerun_does_only_what_is_missing(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out")
    expected = tree(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest" / "dark.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:4]) + lines[4][:30])  # the fifth was cut off
    summary = run(table, tmp_path / "out")
    assert (summary.reused, summary.ran, summary.done) == (4, 8, 20)
    assert tree(tmp_path / "out") == expected
    assert run(table, tmp_path / "out").ran == 0


def test_another_model_needs_overwrite(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out", Dark(below=255))
    other = {**HASHES, "model": "x", "settings": "y"}
    with pytest.raises(VidaffError, match=r"dark was begun here with a different model and settings; pass --overwrite"):
        run(table, tmp_path / "out", hashes=other)
    with pytest.raises(VidaffError, match="different layout"):
        run(table, tmp_path / "out", shard_size=5)
    run(table, tmp_path / "out", Dark(below=0), hashes=other, overwrite=True)
    run(table, tmp_path / "fresh", Dark(below=0), hashes=other)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert not (tmp_path / "out" / "initial").exists()


def test_skipped_pictures_are_named_and_fail_the_run_at_its_end(table: Path, tmp_path: Path) -> None:
    good = (table.parent / "sub0/p000.png").read_bytes()
    add_row(table, "sub0/skip.png", good)
    add_row(table, "value.png", good)
    add_row(table, "broken.png", good[:40])
    add_row(table, "gone.png")
    with pytest.raises(VidaffError, match=r"dark: 4 of 24 pictures were skipped, more than --max-skipped 3") as caught:
        run(table, tmp_path / "out", max_skipped=3)
    assert "all are in" in str(caught.value) and "\n" not in str(caught.value)
    summary = run(table, tmp_path / "out", max_skipped=4)
    assert (summary.ran, summary.done) == (0, 20)
    assert dict(summary.skipped) == {
        "egocentric/hold/cup/broken.png": "truncated PNG (no end marker)",
        "egocentric/hold/cup/gone.png": "no such file",
        "egocentric/hold/cup/sub0__skip.png": "told to",
        "egocentric/hold/cup/value.png": "no such value",
    }


def test_a_fault_ends_the_run_and_names_the_picture(table: Path, tmp_path: Path) -> None:
    add_row(table, "fault.png", (table.parent / "sub0/p000.png").read_bytes())
    for work in (Dark(), DarkTogether()):
        with pytest.raises(VidaffError, match=r"shard 00000\d: egocentric/\S+: RuntimeError: the GPU fell off$"):
            run(table, tmp_path / "out", work)
    assert not (tmp_path / "out" / ".work").exists()


def test_a_dead_worker_names_its_shard(table: Path, tmp_path: Path) -> None:
    add_row(table, "die.png", (table.parent / "sub0/p000.png").read_bytes())
    with pytest.raises(VidaffError, match=r"died in shard 000002 \(egocentric/\S+die.png to .*, exit code 7"):
        run(table, tmp_path / "out", engine=Engine("processes", workers=2))
    assert not (tmp_path / "out" / ".work").exists()
    table.write_text(table.read_text().replace("die.png,cup,hold\n", ""))
    run(table, tmp_path / "out")
    run(table, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_processes_are_told_their_number(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out", Placed(tmp_path), engine=Engine("processes", workers=2))
    assert sorted(path.name for path in tmp_path.glob("worker*")) == ["worker0", "worker1"]


def test_a_set_up_that_fails_is_one_line(table: Path, tmp_path: Path) -> None:
    for engine in (Engine(), Engine("processes")):
        with pytest.raises(VidaffError, match=r"^weights.pt: no such file$"):
            run(table, tmp_path / "out", NoModels(), engine=engine)


def start(table: Path, out: Path, kind: str, seconds: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.labels.engine_works", str(table), str(out), kind, str(seconds)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for_lines(process: subprocess.Popen, out: Path, count: int) -> None:
    manifest = out / "manifest" / "dark.jsonl"
    end = time.monotonic() + 60
    while not manifest.is_file() or manifest.read_bytes().count(b"\n") < count:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["local", "processes"])
def test_killed_and_run_again_it_is_the_same(table: Path, tmp_path: Path, kind: str) -> None:
    with start(table, tmp_path / "out", kind, 0.05) as process:
        wait_for_lines(process, tmp_path / "out", 2)
        with pytest.raises(VidaffError, match=rf"process {process.pid} is writing here"):
            run(table, tmp_path / "out")
        process.kill()
    assert len(read_manifest(tmp_path / "out", "dark")) < 7
    summary = run(table, tmp_path / "out")
    assert summary.reused >= 2
    run(table, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_ctrl_c_is_clean(table: Path, tmp_path: Path) -> None:
    with start(table, tmp_path / "out", "processes", 0.05) as process:
        wait_for_lines(process, tmp_path / "out", 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None and process.stderr.read() == ""
    assert not (tmp_path / "out" / ".work").exists()


def test_the_lock_is_free_again(tmp_path: Path) -> None:
    with lock_folder(tmp_path), lock_folder(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    with lock_folder(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == ""


class FullDisk:
    """Lets so many syncs pass, then none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left, self.really = after, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.really(handle)


def test_a_full_disk_leaves_nothing_half_written(table: Path, tmp_path: Path) -> None:
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join(rows[:5]))
    run(table, tmp_path / "fresh")
    expected = tree(tmp_path / "fresh")
    messages = set()
    for after in (0, 3, 5, 7, 8):
        out = tmp_path / f"out{after}"
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, after)
            with pytest.raises(VidaffError, match="No space left on device") as caught:
                run(table, out)
        messages.add(str(caught.value).replace(str(out), "OUT"))
        left = tree(out)
        assert all(expected[name] == data for name, data in left.items() if not name.startswith("manifest"))
        assert not (out / ".work").exists()
        run(table, out)
        assert tree(out) == expected
    assert any("shard 000000 of dark is not kept" in message for message in messages)
    assert any("manifest/dark.jsonl" in message for message in messages)


def test_a_disk_that_is_really_full(table: Path, tmp_path: Path) -> None:
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("this system has no /dev/full")
    (tmp_path / "out" / "timings").mkdir(parents=True)
    (tmp_path / "out" / "timings" / "dark.jsonl").symlink_to("/dev/full")
    with pytest.raises(VidaffError, match="No space left on device"):
        run(table, tmp_path / "out")


def test_archives_unpack_into_the_label_folder(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "files")
    run(table, tmp_path / "out", archive=True)
    archives = sorted((tmp_path / "out/shards/dark").iterdir())
    assert [path.name for path in archives] == [f"{index:06}.tar" for index in range(7)]
    for path in archives:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
    assert tree(tmp_path / "unpacked/initial") == tree(tmp_path / "files/initial")
    with pytest.raises(VidaffError, match="different layout"):
        run(table, tmp_path / "out")
    run(table, tmp_path / "out", overwrite=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "files")


class Elsewhere(Dark):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def run(self, item, image):
        return super().run(item, image)._replace(files=[(self.path, b"x")])


@pytest.mark.parametrize("path", ["../x.png", "/etc/x.png", "manifest/x.png", "a/../../x", ".work/x", "", "a\x00b"])
def test_labels_stay_in_the_folder(table: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(VidaffError, match="a label cannot be written to"):
        run(table, tmp_path / "out", Elsewhere(path), shard_size=1)
    assert list(tree(tmp_path / "out")) == []


def test_a_doctored_record_removes_nothing_outside(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out")
    (tmp_path / "precious").write_text("x")
    record = tmp_path / "out/records/dark/000000.jsonl"
    record.write_text(record.read_text().replace("initial/", "../precious/../initial/", 1))
    with pytest.raises(VidaffError, match="which is not in it"):
        run(table, tmp_path / "out", overwrite=True)
    assert (tmp_path / "precious").exists()


def test_items_without_pictures(tmp_path: Path) -> None:
    items = pair_items([("pour", "cup"), ("hold", "cup"), ("hold", "cup")])
    assert [item.name for item in items] == ["hold/cup", "pour/cup"]
    summary = run_work(Dark(), items, tmp_path, hashes=HASHES, progress=False)
    assert summary.done == 2


def test_nothing_to_do_is_said(tmp_path: Path) -> None:
    with pytest.raises(VidaffError, match="there are no pictures"):
        run_work(Dark(), [], tmp_path, hashes=HASHES)


@pytest.mark.parametrize(
    "settings", [{"kind": "spark"}, {"workers": 0}, {"workers": 2}, {"threads": 0}, {"address": "auto"}, {"gpus": 2}]
)
def test_engines_that_cannot_be(settings: dict) -> None:
    with pytest.raises(VidaffError):
        Engine(**settings)


def test_a_broken_manifest_is_said(table: Path, tmp_path: Path) -> None:
    run(table, tmp_path / "out")
    manifest = tmp_path / "out/manifest/dark.jsonl"
    for text, message in (
        ("{}\n", "no account of a shard"),
        ("][\n", "not readable as JSON lines"),
        ("7\n", "account"),
    ):
        manifest.write_text(text)
        with pytest.raises(VidaffError, match=message):
            run(table, tmp_path / "out")
    run(table, tmp_path / "out", overwrite=True)


def test_hashes_tell_apart(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert hash_value({"a": 1, "b": 2}) == hash_value({"b": 2, "a": 1}) != hash_value({"a": 1})
    before = hash_files([tmp_path / "a"])
    (tmp_path / "a").write_bytes(b"2")
    assert hash_files([tmp_path / "a"]) != before
    assert hash_code("vidaff.labels.engine") != hash_code("vidaff.labels.engine.run")
    with pytest.raises(VidaffError, match="cannot be read"):
        hash_files([tmp_path / "none"])
    with pytest.raises(ValueError, match="modules"):
        hash_code("vidaff.no_such_module")
