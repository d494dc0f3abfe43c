"""Models of transformers that the user names: a local folder, the local cache, or the hub, in this order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from vidaff.errors import VidaffError, first_line
from vidaff.hub import ask_hub, is_hub_id

Loaded = TypeVar("Loaded")
LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, AttributeError)
"""What transformers raises for names it does not know, foreign models and damaged files."""


def load_pretrained(loader: Callable[..., Loaded], source: str | Path, what: str, **options: Any) -> Loaded:
    """``loader(source)``, a ``from_pretrained`` of transformers; the hub is asked only for a hub id not cached.

    Code that a repository brings along is never run.

    Args:
        loader: bound ``from_pretrained``.
        source: folder or hub id.
        what: what is being loaded, for messages ("CLIP model").
        options: further arguments of ``loader``.

    Raises:
        VidaffError: no such model, or damaged files.
    """
    name = str(source)
    options["trust_remote_code"] = False
    try:
        return _quietly(loader, name, local_files_only=True, **options)
    except LOAD_ERRORS as error:
        if Path(name).exists():
            raise _not_loaded(what, name, first_line(error)) from error
    if not is_hub_id(name):
        raise _not_loaded(what, name, "no such file or folder, and nothing of that name in the local cache")
    try:
        ask_hub(name)
        return _quietly(loader, name, **options)
    except VidaffError as error:
        raise VidaffError(f"{what} {error}") from error
    except LOAD_ERRORS as error:
        raise _not_loaded(what, name, first_line(error)) from error


def _quietly(loader: Callable[..., Loaded], name: str, **options: Any) -> Loaded:
    """``loader(name)`` without transformers' progress bar and its list of weights that are not asked for."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return loader(name, **options)
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def load_weights(model_class: Any, source: str | Path, what: str, config: Any = None) -> Any:
    """A model of ``model_class`` with weights from safetensors; weights that are missing are an error."""
    options = {} if config is None else {"config": config}
    model, report = load_pretrained(
        model_class.from_pretrained, source, what, use_safetensors=True, output_loading_info=True, **options
    )
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise VidaffError(f"{what} {str(source)!r}: {missing[0]} is missing; is it another kind of model?")
    return model.float().eval()


def _not_loaded(what: str, name: str, reason: str) -> VidaffError:
    return VidaffError(f"{what} {name!r} cannot be loaded ({reason}); name a folder or a hub id (owner/name)")
