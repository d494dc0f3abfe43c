"""A file for h5py to write into, on a disk that may fill up."""

from __future__ import annotations

import io


class GuardedFile:
    """Passes bytes to ``file`` (binary, unbuffered) and keeps the first failure to itself until :meth:`check`.

    HDF5 cannot close a file whose last bytes it could not write, and crashes the program at its end. Here every write
    succeeds in its eyes, so that it closes in order; the caller asks afterwards, and throws the file away.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._failure: BaseException | None = None

    def check(self) -> None:
        """Raise the first failure, if there was one."""
        if self._failure is not None:
            raise self._failure

    def write(self, data: memoryview) -> int:
        rest = memoryview(data)
        while len(rest) and self._failure is None:
            try:
                rest = rest[self._file.write(rest) :]
            except BaseException as error:  # Ctrl-C, too, would make this a failed write
                self._failure = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._failure = self._failure or error
            return size or 0

    def read(self, size: int = -1) -> bytes | None:
        return self._file.read(size)

    def readinto(self, buffer: memoryview) -> int | None:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()
