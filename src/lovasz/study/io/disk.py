"""Files that are on disk in full before they have their name, so that a power cut leaves the old or the new."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lovasz.study.io.text import printable


@contextmanager
def replaced(path: Path, newline: str | None = None, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a draft of a file that takes its name once it is on disk: a reader sees the old or the new.

    A draft that could not be written is deleted.
    """
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with flushed(hidden, newline, binary) as file:
            yield file
        os.replace(hidden, path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


@contextmanager
def flushed(path: Path, newline: str | None = None, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file whose content is on disk before it is closed."""
    with open(path, "wb") if binary else open(path, "w", encoding="utf-8", newline=newline) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Write to disk which names a folder holds; Windows and some network file systems have no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a file's content in one step."""
    with replaced(path) as file:
        file.write(text)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say which file could not be written when the disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {printable(path)}: {error.strerror or error}") from error


def check_writable(folder: Path) -> None:
    """Create the folder if needed and check that files can be written there.

    Raises:
        OSError: If they cannot; the message says where and why.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"cannot write results to {folder}: it is not a folder")
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot write results to {folder}: {reason}") from error
