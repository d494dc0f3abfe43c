"""Option types: what no verb takes."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from vidaff.cli import VERBS, cli

NAMES = ("source", "checkpoint", "depth", "depth_model", "calibration", "intrinsics", "recipe", "pair")
"""Parameters that name a file or a folder, or may do so, and are no paths by their type."""


def parameters(command: click.Command) -> Iterator[click.Parameter]:
    yield from command.params
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from parameters(child)


@pytest.mark.parametrize("verb", VERBS)
def test_no_path_may_be_empty(verb: str) -> None:
    """An empty name would be the current folder."""
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    paths = [p for p in parameters(command) if isinstance(p.type, click.Path) or p.name in NAMES]
    assert paths
    for parameter in paths:
        with pytest.raises(click.BadParameter, match="the name is empty"):
            parameter.type.convert("", parameter, None)
        assert str(parameter.type.convert("a/b", parameter, None)) == "a/b"


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer", "", "--checkpoint", "small", "--out", "o"],
        ["infer", "x.png", "--checkpoint", "", "--out", "o"],
        ["data", "check", "own-clips", ""],
        ["flow", "--out", "o", "--pair", "a", "", "b", "c"],
    ],
    ids=" ".join,
)
def test_an_empty_name_ends_with_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2 and "the name is empty" in result.output
