"""The folder of a rendered set: begun, resumed, grown or replaced, and never somebody else's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidaff.errors import VidaffError
from vidaff.io import prepare_output_dir, read_json, write_json

SETTINGS_FILE = "synth.json"
SHEET_FILE = "contact_sheet.png"


def begin_set(
    out: Path, wanted: dict[str, Any], *, counts: Sequence[str], owned: Sequence[str], resume: bool, overwrite: bool
) -> dict[str, Any]:
    """Make or check the folder ``out`` of a set of settings ``wanted``; return its settings, which it then states.

    ``counts`` are the settings by which a resumed set may grow; ``owned`` the files and folders that a run writes
    besides the settings and the contact sheet, and the only ones that ``overwrite`` removes.

    Raises:
        VidaffError: ``out`` holds files and neither option is given, holds something else, or was rendered with
            other settings.
    """
    if resume and overwrite:
        raise VidaffError("--resume keeps what --overwrite would remove; pass one of them")
    prepare_output_dir(out, overwrite=overwrite, resume=resume)
    known = out / SETTINGS_FILE
    if any(out.iterdir()) and not known.is_file():
        raise VidaffError(f"{out}: holds files but no {SETTINGS_FILE}, so it is no rendered set; choose another folder")
    if overwrite:
        _clear(out, owned)
    if known.is_file():
        wanted = _grown(out, read_json(known), wanted, counts)
    write_json(known, wanted)
    return wanted


def _clear(out: Path, owned: Sequence[str]) -> None:
    """Remove what an earlier run wrote, and nothing else; the settings last, for they say whose folder this is."""
    for name in (*owned, SHEET_FILE, SETTINGS_FILE):
        path = out / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _grown(out: Path, found: Any, wanted: dict[str, Any], counts: Sequence[str]) -> dict[str, Any]:
    """Settings of the resumed set: equal to those it was begun with, or with more in it."""
    if not isinstance(found, dict):
        raise VidaffError(f"{out / SETTINGS_FILE}: not the settings of a rendered set; pass --overwrite to start anew")
    for key in wanted:
        same = key in counts or found.get(key) == wanted[key]
        if not same:
            raise VidaffError(
                f"{out}: was rendered with {key} {found.get(key)!r}, now {wanted[key]!r} is asked for; "
                "choose another folder, or pass --overwrite"
            )
    return {**wanted, **{key: max(int(found.get(key, 0)), wanted[key]) for key in counts}}
