"""What ships: metadata, pinned versions, scripts, recipes, and the cards at the top level."""

from __future__ import annotations

import re
import stat
import subprocess
import tomllib
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import vidaff
from vidaff.config import OTHER_MODELS, VIDEO, load_recipe, recipe_names
from vidaff.datasets import DATASETS, GROUNDING

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
SCRIPTS = ["scripts/setup.sh", "scripts/demo.sh", "scripts/test.sh", ".ci/run"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(text: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", text)
    assert match, text
    return normal(match.group())


def test_constraints_are_names_and_versions_only() -> None:
    wrong = [line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)]
    assert wrong == []
    names = [requirement_name(line) for line in CONSTRAINTS]
    assert len(names) == len(set(names))


def test_every_direct_dependency_has_a_tested_version() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["test"], *extras["lint"], *extras["ray"]]
    pinned = {requirement_name(line) for line in CONSTRAINTS}
    # The plain open3d is for platforms other than the tested one, which takes open3d-cpu.
    assert {requirement_name(text) for text in wanted} - pinned - {"vidaff"} == {"open3d"}


def test_metadata_has_no_pins() -> None:
    assert not [text for text in PROJECT["project"]["dependencies"] if "==" in text.partition(";")[0]]


def test_opencv_is_new_enough_to_decode_to_rgb() -> None:
    """``vidaff.io`` asks for ``IMREAD_COLOR_RGB``, which came after 4.10 (pull request 25809 of OpenCV, July 2024)."""
    asked = next(Requirement(text) for text in PROJECT["project"]["dependencies"] if "opencv" in text)
    assert "4.10.0.84" not in asked.specifier and "4.11.0.86" in asked.specifier
    assert next(line for line in CONSTRAINTS if line.startswith(asked.name)).partition("==")[2] in asked.specifier


def test_the_installed_distribution_agrees_with_the_package() -> None:
    assert metadata.version("vidaff") == vidaff.__version__
    scripts = {entry.name: entry.value for entry in metadata.entry_points(group="console_scripts")}
    assert scripts["vidaff"] == "vidaff.cli:main"


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == vidaff.__version__
    assert f"## [{vidaff.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_is_typed() -> None:
    assert (files("vidaff") / "py.typed").is_file()


def test_package_data_covers_every_file_that_is_not_python() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["vidaff"]
    package = ROOT / "vidaff"
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    others = {
        path for path in package.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }  # fmt: skip
    assert others - shipped == set()


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_strict_and_executable(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in path.read_text(encoding="utf-8").splitlines()
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_set_up_says_what_is_missing_without_python(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "setup.sh"
    script.write_bytes((ROOT / "scripts" / "setup.sh").read_bytes())
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    done = subprocess.run(
        ["/usr/bin/bash", str(script)], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no Python 3.11 or newer found" in done.stderr
    assert not (tmp_path / ".venv").exists()


def cards(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.md") if path.stem != "README"}


def test_every_dataset_has_a_card_and_every_card_a_dataset() -> None:
    assert cards("datasets") == {*DATASETS, *GROUNDING}


def test_every_model_card_names_a_recipe_or_a_shipped_checkpoint() -> None:
    from vidaff.models.image.settings import GROUNDERS
    from vidaff.weights import SHIPPED

    assert cards("models")
    recipes = {name for model in (VIDEO, *OTHER_MODELS) for name in recipe_names(model)}
    assert cards("models") <= {*recipes, *SHIPPED, *SHIPPED.values(), *GROUNDERS}
    assert set(GROUNDERS) <= cards("models")
    assert [model for model in OTHER_MODELS if not cards("models") & set(recipe_names(model))] == []


def test_every_shipped_checkpoint_has_a_card_and_its_record() -> None:
    from vidaff.weights import SHIPPED

    for name, folder in SHIPPED.items():
        assert cards("models") & {name, folder}, name
        content = {path.name for path in (ROOT / "vidaff" / "weights" / folder).iterdir()}
        assert {"model.safetensors", "config.json", "README.md"} <= content


def test_the_top_level_folders_hold_no_python() -> None:
    assert [path for name in ("datasets", "models", "flow3d") for path in (ROOT / name).rglob("*.py")] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []
