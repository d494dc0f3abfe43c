"""The command line: one file per verb, imported only when that verb runs."""

from __future__ import annotations

import _thread
import importlib
import io
import os
import sys
import threading
from typing import NoReturn

import click

from vidaff import __version__
from vidaff.errors import VidaffError

VERBS = {
    "synth": "Render synthetic data sets (the embedded default).",
    "data": "Check, prepare and inspect data sets.",
    "label": "Make pseudo-labels: detect parts, segment, refine.",
    "train": "Train a model.",
    "eval": "Evaluate a checkpoint: every metric, per class and overall.",
    "ablate": "Train the variants of a model with several seeds and tabulate them.",
    "transfer": "Run a model on unseen objects (UMD, IIT-AFF): pictures, numbers.",
    "metrics": "Score folders of predicted maps against true ones; no model is needed.",
    "infer": "Find affordances in a video, a folder, a camera or a picture.",
    "ground": "Find where in a picture an action is done, asked in words; rank grasps by it.",
    "convert": "Convert checkpoints of others to safetensors.",
    "flow": "Compute RGB-D scene flow.",
    "demo": "Render, train, evaluate, infer: the whole chain with a report.",
}
"""Verb -> one-line help. Listed here so that ``vidaff --help`` imports no verb (and no torch)."""


class LazyGroup(click.Group):
    """A group that imports ``vidaff.cli.<verb>`` and takes its ``command`` only when that verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"vidaff.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidaff")
def cli() -> None:
    """Find affordances: the parts of an object that allow an action.

    \b
    Examples:
      vidaff demo --out runs/demo
      vidaff infer clip.mp4 --checkpoint small --out runs/clip
      vidaff train --dataset sor3d-aff --data ROOT --recipe small --out runs/mine
      vidaff VERB --help

    \b
    Shell completion (bash; zsh and fish alike):
      eval "$(_VIDAFF_COMPLETE=bash_source vidaff)"
    """


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's writing thread meets a full disk first; the main thread, which is told of it, says it once."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def _unraisable(failure: sys.UnraisableHookArgs) -> None:
    """Ctrl-C within a destructor would be lost there; it is sent again when the destructor is over."""
    if isinstance(failure.exc_value, KeyboardInterrupt):
        threading.Timer(0.01, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(failure)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: compiled modules say "initialization failed" when it meets their import."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))  # an error may lead back to itself
        error = error.__cause__ or error.__context__
    return False


def main() -> NoReturn:
    """Entry point of the ``vidaff`` command: user errors in one line with exit code 2, Ctrl-C with 130."""
    # Idle OpenMP threads that spin take the cores from video coding and from other programs: on a busy machine that
    # made inference ten times slower. It is read when torch is loaded, so it is set before any verb.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be text that a terminal can show
    try:
        code = cli.main(prog_name="vidaff", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except VidaffError as error:
        click.echo(f"Error: {error}", err=True)
        code = 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        # A full disk, missing rights and the like, met where no message of our own says more.
        name = f"{error.filename}: " if error.filename is not None else ""
        click.echo(f"Error: {name}{error.strerror or error}", err=True)
        code = 2
    except MemoryError:
        click.echo("Error: not enough memory; take smaller inputs or batches", err=True)
        code = 2
    except Exception as error:
        if not _was_interrupted(error):
            raise
        click.echo("interrupted", err=True)
        os._exit(130)  # a compiled module that is half loaded breaks the orderly end of the program
    sys.exit(code if isinstance(code, int) else 0)
