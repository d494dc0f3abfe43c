"""Help: fast because nothing heavy is loaded, complete, and true to what the README shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vidaff import __version__
from vidaff.cli import VERBS, cli

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "cv2", "open3d", "transformers", "lightning", "h5py", "numba", "scipy", "matplotlib", "av")

PROBE = """
import sys
sys.argv = ["vidaff", *{arguments!r}]
from vidaff.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted(set({heavy!r}) & set(sys.modules)))
"""


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, (*path, name))


def commands_of(verb: str) -> list[tuple[tuple[str, ...], click.Command]]:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return list(leaves(command, (verb,)))


def loaded(*arguments: str) -> list[str]:
    probe = PROBE.format(arguments=list(arguments), heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return done.stdout.rsplit("LOADED", 1)[1].split()


def test_help_lists_every_verb() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", output, re.MULTILINE)
    assert "Examples:" in output and "_VIDAFF_COMPLETE" in output


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(*arguments) == []


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_no_network_library(verb: str) -> None:
    assert set(loaded(verb, "--help")) <= {"scipy"}


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output.split() == ["vidaff,", "version", __version__]


def help_of(path: tuple[str, ...]) -> str:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_has_an_example_in_its_help_or_its_group_s(verb: str) -> None:
    for path, _ in commands_of(verb):
        shown = help_of(path) + help_of(path[:1])
        assert re.search(rf"Examples?:(.|\n)*vidaff {' '.join(path)}", shown), " ".join(path)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb: str) -> None:
    for path, command in commands_of(verb):
        silent = [option.opts[-1] for option in command.params if isinstance(option, click.Option) and not option.help]
        assert silent == [], " ".join(path)


def test_an_unknown_verb_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run([sys.executable, "-m", "vidaff", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr and "Traceback" not in done.stderr


def documented_commands() -> list[list[str]]:
    """Every ``vidaff ...`` line in a code block of the documentation, continued lines joined."""
    pages = [
        ROOT / "README.md",
        *(p for name in ("docs", "datasets", "models", "flow3d") for p in (ROOT / name).rglob("*.md")),
    ]
    lines = []
    for page in sorted(pages):
        for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                words = words[1:] if words and words[0].endswith(".venv/bin/vidaff") else words
                if words and words[0] == "vidaff":
                    lines.append(words[1:])
    return lines


def test_every_documented_command_parses() -> None:
    commands = documented_commands()
    assert commands
    for words in commands:
        command: click.Command = cli
        rest = list(words)
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            child = command.get_command(click.Context(command), rest[0])
            assert child is not None, words
            command, rest = child, rest[1:]
        context = click.Context(command, resilient_parsing=True)
        try:
            command.make_parser(context).parse_args(rest)
        except click.UsageError as error:
            pytest.fail(f"vidaff {' '.join(words)}: {error.format_message()}")
