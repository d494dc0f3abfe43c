"""The one exception that means "the user can fix this"."""


class VidaffError(Exception):
    """Bad input, said in one line: what was wrong, where, and what to do.

    The command line prints the message and ends with exit code 2; it never shows a traceback for it.
    """
