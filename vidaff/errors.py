"""The one exception that means "the user can fix this"."""


class VidaffError(Exception):
    """Bad input, said in one line: what was wrong, where, and what to do.

    The command line prints the message and ends with exit code 2; it never shows a traceback for it.
    """


def first_line(error: BaseException, *, limit: int = 200) -> str:
    """First line of an error's text, its class name when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
