"""Models named by a Hugging Face hub id: the local cache first, then the hub, which is asked once and briefly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidaff.errors import VidaffError, first_line

TIMEOUT_S = 5.0
"""For the one question whether the hub has a model. The clients that download retry every file for half a minute."""


def is_hub_id(name: str) -> bool:
    """``owner/name``; a mistyped path whose folder exists here is not one, so that nothing is asked of the network."""
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~")) and not Path(parts[0]).exists()


def hub_folder(repo_id: str, files: Sequence[str], *, force_download: bool = False, **options: Any) -> str:
    """Local folder that holds ``files`` of a hub repository: the cached copy as it is, else a download.

    ``options`` are those of ``huggingface_hub.snapshot_download``. Raises :class:`VidaffError` when there is no such
    repository, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    if not force_download:
        cached = _cached_folder(repo_id, files, {**options, "local_files_only": True})
        if cached is not None:
            return cached
    if not options.get("local_files_only"):
        ask_hub(repo_id, revision=options.get("revision"), token=options.get("token"))
    try:
        return str(snapshot_download(repo_id, allow_patterns=[*files], force_download=force_download, **options))
    except Exception as error:  # as in ask_hub
        raise VidaffError(f"{repo_id}: cannot be had from the hub ({first_line(error)})") from error


def _cached_folder(repo_id: str, files: Sequence[str], options: dict[str, Any]) -> str | None:
    from huggingface_hub import snapshot_download

    try:
        folder = str(snapshot_download(repo_id, allow_patterns=[*files], **options))
    except (OSError, ValueError):  # nothing cached, only a part of it, or no valid id
        return None
    return folder if all((Path(folder) / name).is_file() for name in files) else None


def ask_hub(repo_id: str, *, revision: str | None = None, token: str | bool | None = None) -> None:
    """Return when the hub has the model; else raise :class:`VidaffError`, within seconds and without a retry."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi(token=token).model_info(repo_id, revision=revision, timeout=TIMEOUT_S)
    except RepositoryNotFoundError as error:
        raise VidaffError(
            f"{repo_id}: no such file or folder, and the hub has no such model (private ones need a token)"
        ) from error
    except RevisionNotFoundError as error:
        raise VidaffError(f"{repo_id}: the hub's model has no revision {revision!r}") from error
    except Exception as error:  # the client lets its transport's errors through, whose types differ by version
        raise VidaffError(
            f"{repo_id}: no such file or folder, not in the local cache, and the hub cannot be asked "
            f"({first_line(error)}); check the name, or fetch the model elsewhere and name its folder"
        ) from error
