"""The counts of every image, kept in a temporary file so that memory does not grow with their number."""

import tempfile
import weakref
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lovasz.study.io.text import printable
from lovasz.study.processes import Ranks

# Bytes of rows that are in memory at a time.
BUFFER = 2**24


class Rows:
    """One row for each image: whether it was counted, then a few int64 of each class, (C, F).

    Of counts there are F = 3, the pixels in intersection, label and prediction, as in
    ``lovasz.metrics.ImageJaccardIndex``. The file has no name and goes with the object; it lies
    where ``tempfile`` puts it (``TMPDIR``).
    """

    def __init__(self, images: int, num_classes: int, fields: int = 3) -> None:
        self.images, self.num_classes, self.fields = images, num_classes, fields
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._width = 1 + fields * num_classes
        self._file.truncate(images * 8 * self._width)  # rows that are never written read as zeros

    def __setitem__(self, image: int, counts: NDArray[np.int64]) -> None:
        """Keep the numbers (C, F) of an image."""
        self._write(image, np.concatenate([[1], counts.reshape(-1)]))

    def __getitem__(self, image: int) -> NDArray[np.int64]:
        """Return the numbers (C, F) of an image."""
        self._file.seek(8 * self._width * image)
        row = np.frombuffer(self._file.read(8 * self._width), dtype=np.int64)
        return row[1:].reshape(-1, self.fields)

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Read all rows in order, block by block.

        Yields:
            The images of a block that were counted, (n,), and their numbers, (n, C, F).
        """
        for first, block in self._raw(max(1, BUFFER // (8 * self._width))):
            counted = np.flatnonzero(block[:, 0])
            yield first + counted, block[counted, 1:].reshape(-1, self.num_classes, self.fields)

    def to_first(self, ranks: Ranks, images: int) -> "Rows":
        """Brings the rows of all processes together on the first.

        Args:
            ranks: The processes; image i of process r is image ``i * world_size + r`` of all.
            images: How many there are in all.

        Returns:
            All rows on the first process, on the others their own.
        """
        if ranks.world_size == 1:
            return self
        merged = Rows(images if ranks.rank == 0 else 0, self.num_classes, self.fields)
        size = max(1, BUFFER // (8 * self._width * ranks.world_size))
        most = -(-images // ranks.world_size)
        for first, block in self._raw(size, most):
            parts = ranks.to_first(block)
            if parts:
                place = first * ranks.world_size
                merged._write(place, np.stack(parts, axis=1).reshape(-1, self._width)[: images - place])
        return merged if ranks.rank == 0 else self

    def _write(self, first: int, rows: NDArray[np.int64]) -> None:
        try:
            self._file.seek(8 * self._width * first)
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            place = printable(tempfile.gettempdir())
            reason = error.strerror or error
            raise OSError(f"cannot write the counts of the images to {place} (TMPDIR): {reason}") from error

    def _raw(self, size: int, images: int | None = None) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield the first image and the rows of each block, beyond the own images zeros."""
        images = self.images if images is None else images
        for first in range(0, images, size):
            block = np.zeros((min(size, images - first), self._width), dtype=np.int64)
            self._file.seek(8 * self._width * first)
            read = np.frombuffer(self._file.read(block.nbytes), dtype=np.int64)
            block.reshape(-1)[: len(read)] = read
            yield first, block
