"""Digests of files, by which damage is found before anything is read from them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

# In the folder of each finished run; ``sha256sum -c SHA256SUMS`` checks it by hand.
SUMS = "SHA256SUMS"
HEXADECIMAL = 64


def sums(folder: Path) -> str:
    """Return a line for each file of a folder: its SHA-256, two spaces, its name."""
    return "".join(f"{_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()))


def check_sums(folder: Path, needed: Iterable[str]) -> None:
    """Check that the files of a folder are those that its ``SHA256SUMS`` was made from.

    Files that it does not name, as those that file managers leave everywhere, are not looked at.

    Args:
        folder: The folder.
        needed: Names of files that it must hold.

    Raises:
        ValueError: If a file is missing or has another digest; the message names it.
    """
    missing = set(needed)
    for name in (SUMS, *sorted(missing)):
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
    for line in (folder / SUMS).read_text(encoding="ascii").splitlines():
        digest, name = line[:HEXADECIMAL], line[HEXADECIMAL + 2 :]
        path = folder / Path(name).name
        if not path.is_file():
            raise ValueError(f"{path.name} is missing")
        if _digest(path) != digest:
            raise ValueError(f"{path.name} is not as it was written")
        missing.discard(name)
    if missing:
        raise ValueError(f"{SUMS} is not as it was written")


def sealed(content: bytes) -> bytes:
    """Return content with its digest in a line before it, for a file that is replaced as a whole."""
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unsealed(written: bytes) -> bytes:
    """Return the content of what `sealed` made.

    Raises:
        ValueError: If it has another digest.
    """
    content = written[HEXADECIMAL + 1 :]
    if sealed(content) != written:
        raise ValueError("it is not as it was written")
    return content


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
