"""Pictures whose compression changes their values, told by their first bytes."""

from pathlib import Path

RIFF, KIND = b"RIFF", slice(8, 12)
LOSSY, EXTENDED = b"VP8 ", b"VP8X"
# Bytes in which the chunk of the pixels begins, after those of colour profiles.
HEAD = 2**20


def is_lossy(path: Path) -> bool:
    """Return whether a picture is a WebP that was compressed with loss."""
    with path.open("rb") as file:
        head = file.read(16)
        if not (head.startswith(RIFF) and head[KIND] == b"WEBP"):
            return False
        if head[12:16] != EXTENDED:
            return head[12:16] == LOSSY
        head += file.read(HEAD)
    place = 12
    while place + 8 <= len(head):
        kind, size = head[place : place + 4], int.from_bytes(head[place + 4 : place + 8], "little")
        if kind in (LOSSY, b"VP8L"):
            return kind == LOSSY
        place += 8 + size + size % 2
    return True
