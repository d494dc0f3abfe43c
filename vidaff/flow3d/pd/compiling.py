"""How the kernels are compiled, and where the result is kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from numba import config, njit

PLAIN_PYTHON = bool(config.DISABLE_JIT)  # type: ignore[attr-defined]  # numba sets it from the environment
"""Whether NUMBA_DISABLE_JIT asks for kernels that a debugger or a coverage tool can follow."""

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "arcp", "nsz", "afn"}}


# Any: numba's functions take and give plain and NumPy scalars alike.
def kernel(function: Any) -> Any:
    """Compile ``function`` at its first call; the result is kept on disk if any of numba's folders can be written."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # a read-only installation without a home: numba refuses to keep, not to compile
        return njit(**_OPTIONS)(function)


def say_if_compiling(compiled: Any) -> None:
    """Warn when a :func:`kernel` is neither in memory nor on disk: a silent minute would look like a hang."""
    if PLAIN_PYTHON or compiled.signatures:
        return
    folder, name = compiled.stats.cache_path, compiled.py_func.__name__
    if folder is not None and any(Path(folder).glob(f"*.{name}-*.nbi")):
        return
    often = "once" if folder is not None else "in every process (NUMBA_CACHE_DIR names a folder that can keep them)"
    logging.getLogger("vidaff").warning("compiling the scene flow kernels, %s; about half a minute ...", often)
