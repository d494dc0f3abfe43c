"""``vidaff data`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.trees import write_recording, write_sor3d
from vidaff.cli.data import command
from vidaff.datasets.prepared import PreparedClips
from vidaff.errors import VidaffError
from vidaff.io import write_json


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if isinstance(result.exception, VidaffError):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_sor3d(tmp_path_factory.mktemp("tree"))
    write_json(root / "synth.json", {})
    return root


def test_prepare_check_and_info(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips.h5"
    result = run("prepare", "sor3d-aff", tree, out, "--size", "16x24", "--workers", 1, "--clip-length", 3)
    assert result.exit_code == 0 and "clips.h5" in result.output
    clips = PreparedClips(out, "train")
    assert clips.size == (16, 24) and clips.length(0) == 3
    check = run("check", "sor3d-aff", tree, "--workers", 1)
    assert check.exit_code == 0 and "no problems" in check.output
    for source in (out, tree):
        info = json.loads(run("info", source, "--json").output)
        assert info["splits"]["train"]["actions"] == {"cut": 1, "grasp": 1, "lift": 1}
        assert info["splits"]["val"]["objects"] == {"book": 1, "knife": 1}
        assert "knife" in run("info", source).output


def test_check_ends_with_1_and_a_table(tmp_path: Path) -> None:
    write_recording(tmp_path / "train", "Subject1_cut_a_knife")
    for arguments in ([], ["--quick"]):
        result = run("check", "sor3d-aff", tmp_path, "--workers", 1, *arguments)
        assert result.exit_code == 1 and "962" in result.output and "2 problems" in result.output
    report = json.loads(run("check", "sor3d-aff", tmp_path, "--workers", 1, "--json").output)
    assert report["ok"] is False and len(report["problems"]) == 2


def test_an_existing_file_needs_a_flag(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "clips.h5"
    arguments = ("prepare", "sor3d-aff", tree, out, "--size", 16, "--workers", 1, "--flow", "none")
    assert run(*arguments).exit_code == 0
    with pytest.raises(VidaffError, match="exists already"):
        run(*arguments)
    assert run(*arguments, "--resume").exit_code == run(*arguments, "--overwrite").exit_code == 0


def test_the_program_ends_with_2_and_one_line(tmp_path: Path) -> None:
    code = "from vidaff.cli import main; main()"
    command_line = [sys.executable, "-c", code, "data", "prepare", "sor3d-aff", str(tmp_path / "no"), "x.h5"]
    result = subprocess.run(command_line, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.strip() == f"Error: {tmp_path / 'no'}: no such folder"


def test_a_file_where_a_folder_belongs_is_told_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "clips.h5").write_bytes(b"")
    for arguments in (("check", "sor3d-aff"), ("prepare", "own-clips")):
        rest = [tmp_path / "out.h5"] if arguments[0] == "prepare" else []
        with pytest.raises(VidaffError, match=r"clips\.h5: is a file; .* vidaff data info FILE"):
            run(*arguments, tmp_path / "clips.h5", *rest)
        with pytest.raises(VidaffError, match="no such folder"):
            run(*arguments, tmp_path / "nothing", *rest)


@pytest.mark.parametrize("arguments", [("--geometry", "aligned"), ("--size", "abc"), ("--centre-crop", "300")])
def test_options_that_do_not_go_together(tree: Path, tmp_path: Path, arguments: tuple[str, str]) -> None:
    with pytest.raises(VidaffError):
        run("prepare", "sor3d-aff", tree, tmp_path / "c.h5", *arguments)
    assert list(tmp_path.iterdir()) == []
