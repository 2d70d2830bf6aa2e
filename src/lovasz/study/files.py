"""Images and masks from files: PNG, JPEG, WebP, TIFF, BMP, NumPy arrays and NIfTI volumes."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
VOLUMES = (".nii", ".nii.gz")
# EXIF's number of the tag.
ORIENTATION = 0x0112
SUFFIXES = (*PICTURES, *VOLUMES, ".npy")


class UnreadableFileError(ValueError):
    """A file does not hold what it should; the message names it and says why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        """Rebuilds itself on its way out of another process."""
        return type(self), (self.path, self.reason)


def suffix(path: Path) -> str:
    """Returns the suffix in small letters, ``.nii.gz`` as one."""
    return _suffix(path.name)


def stem(path: Path) -> str:
    """Returns the name without its suffix."""
    return path.name[: len(path.name) - len(suffix(path))]


def files_in(folder: Path) -> dict[str, Path]:
    """Lists the readable kinds of files in a folder by stem, in the order of their stems.

    Hidden files and files of other kinds (a README, ``Thumbs.db``) are left out.

    Raises:
        UnreadableFileError: If the folder cannot be listed or two files share a stem.
    """
    return {name: folder / file for name, file in names_in(folder).items()}


def names_in(folder: Path) -> dict[str, str]:
    """Lists as `files_in` does, but the name of each file alone: a third of the memory of paths."""
    try:
        with os.scandir(folder) as entries:
            files = [e.name for e in entries if _suffix(e.name) in SUFFIXES and e.name[0] != "." and not e.is_dir()]
    except OSError as error:
        raise UnreadableFileError(folder, error.strerror or str(error)) from error
    pairs = sorted((file[: -len(_suffix(file))], file) for file in files)
    for (name, file), (following, other) in itertools.pairwise(pairs):
        if name == following:
            raise UnreadableFileError(folder / other, f"has the same name as {file}; which of the two is meant?")
    return dict(pairs)


def _suffix(name: str) -> str:
    name = name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def read_mask(path: Path) -> NDArray[np.integer[Any]]:
    """Reads class indices, (H, W) of a picture, (H, W, D) of a volume, any shape of an array.

    A picture must be an 8-bit or 16-bit index or palette image: its indices are read, not its
    colours. Whole numbers stored as floating point, as volumes often are, are accepted.

    Raises:
        UnreadableFileError: If the file is missing or broken, holds colours or fractions, or was
            compressed with loss, which changes labels.
    """
    if suffix(path) in (".jpg", ".jpeg"):
        raise UnreadableFileError(path, "a mask cannot be a JPEG, which changes labels; expected a PNG")
    labels = _read(path)
    if suffix(path) in PICTURES and labels.ndim != 2:
        raise UnreadableFileError(
            path, f"holds {labels.shape[2]} channels of colour; expected one channel of class indices, or a palette"
        )
    if suffix(path) in VOLUMES:
        labels = _three_axes(path, labels)
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer):
        # Beyond 2^53 not every whole number is a float64, and none is a label.
        small = bool((np.abs(labels) < 2.0**53).all())  # NaN is not
        if not small or (labels != np.rint(labels)).any():
            raise UnreadableFileError(path, f"holds {labels.dtype} values that are not whole numbers")
        return labels.astype(np.int64)
    return labels


def read_image(path: Path) -> NDArray[Any]:
    """Reads an image with its channels first: (C, H, W) of a picture, (1, H, W, D) of a volume.

    A palette is looked up, transparency dropped. An array must have its channels first; one of
    two axes is one channel. Values keep their type and range.

    Raises:
        UnreadableFileError: If the file is missing or broken, or its values are not finite.
    """
    image = _read(path, colours=True)
    if suffix(path) in PICTURES:
        image = image[None] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    elif suffix(path) in VOLUMES:
        # A fourth axis holds channels (or time).
        image = image[None] if image.ndim == 3 else np.moveaxis(image, -1, 0)
    elif image.ndim == 2:
        image = image[None]
    if image.ndim not in (3, 4):
        raise UnreadableFileError(path, f"has the shape {image.shape}; expected (C, H, W) or (C, H, W, D)")
    if np.issubdtype(image.dtype, np.floating) and not np.isfinite(image).all():
        raise UnreadableFileError(path, "holds values that are not finite numbers")
    return np.ascontiguousarray(image)


def check_same_place(path: Path, other: Path) -> None:
    """Checks that two volumes hold the same voxels of the same body: that their affines agree.

    Raises:
        UnreadableFileError: If both are NIfTI files and their affines differ by more than 1e-3.
    """
    if suffix(path) not in VOLUMES or suffix(other) not in VOLUMES:
        return
    if not np.allclose(_canonical_affine(path), _canonical_affine(other), atol=1e-3):
        raise UnreadableFileError(
            path,
            f"lies elsewhere in space than {other}: their affines differ; resample one to the grid of the other",
        )


def _canonical_affine(path: Path) -> NDArray[np.float64]:
    """Returns the affine of a volume once its axes are in one order; from the header alone."""
    import nibabel

    volume: Any = nibabel.load(path)
    turns = nibabel.io_orientation(volume.affine)
    affine: NDArray[np.float64] = volume.affine @ nibabel.orientations.inv_ornt_aff(turns, volume.shape)
    return affine


def _read(path: Path, colours: bool = False) -> NDArray[Any]:
    try:
        if suffix(path) == ".npy":
            array: NDArray[Any] = np.load(path, allow_pickle=False)
        elif suffix(path) in VOLUMES:
            import nibabel

            # Axes in one order, right, front, up, whatever order the file has them in.
            volume: Any = nibabel.as_closest_canonical(nibabel.load(path))
            array = np.asanyarray(volume.dataobj)
        elif suffix(path) in PICTURES:
            from PIL import Image

            Image.MAX_IMAGE_PIXELS = None  # a large mask of one's own is no attack
            with Image.open(path) as picture:
                turned = picture.getexif().get(ORIENTATION, 1)
                if turned != 1:
                    raise UnreadableFileError(
                        path,
                        f"is shown turned or mirrored by its EXIF orientation {turned}, and its mask may be either "
                        "way; save it upright",
                    )
                if colours and picture.mode not in ("L", "RGB", "I;16", "I", "F", "1"):
                    array = np.asarray(picture.convert("L" if picture.mode in ("LA", "La") else "RGB"))
                else:
                    array = np.asarray(picture)
        else:
            raise UnreadableFileError(path, f"is of no known kind; expected one of {', '.join(SUFFIXES)}")
    except UnreadableFileError:
        raise
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except Exception as error:  # decoders raise whatever they like on a broken file
        raise UnreadableFileError(path, f"cannot be read ({error})") from error
    if array.size == 0 or array.dtype.kind not in "buif":
        raise UnreadableFileError(path, f"holds no numbers (shape {array.shape}, {array.dtype})")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _three_axes(path: Path, labels: NDArray[Any]) -> NDArray[Any]:
    if labels.ndim == 4 and labels.shape[3] == 1:
        labels = labels[..., 0]
    if labels.ndim != 3:
        raise UnreadableFileError(path, f"has the shape {labels.shape}; expected a volume (H, W, D)")
    return labels
