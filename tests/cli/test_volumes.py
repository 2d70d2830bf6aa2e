"""NIfTI volumes, which are turned by their affines: beside arrays that have none, and with classes as an axis."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from lovasz.study.data.examine import examine
from lovasz.study.data.pairs import Pair
from lovasz.study.io.kinds import UnreadableFileError
from lovasz.study.io.labelling import Labelling
from tests.cli.scored import evaluate

LABELS = np.random.default_rng(0).integers(0, 3, (6, 6, 5)).astype(np.uint8)
LOGITS = (8 * np.eye(3)[LABELS]).astype(np.float32)
MIRRORED = np.diag([-1.0, 1, 1, 1])
MASKS: tuple[Any, ...] = ()
SCORES = ("--scores", "logits")


def save(path: Path, values: Any, affine: Any = MIRRORED) -> Path:
    """Write an array, or a volume with an affine."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


# ---- arrays beside volumes ----


@pytest.mark.parametrize(
    ("prediction", "name", "target", "options"),
    [
        (LABELS, "a.npy", "a.nii.gz", MASKS),
        (LABELS, "a.nii", "a.npy", MASKS),
        (np.moveaxis(LOGITS, -1, 0), "a.npy", "a.nii.gz", SCORES),
        (LOGITS, "a.nii", "a.npy", SCORES),
    ],
)
def test_an_array_beside_a_volume_that_is_turned_is_refused(
    prediction: Any, name: str, target: str, options: Any, tmp_path: Path
) -> None:
    """The array may be in the order that the volume is stored in, or in that in which it is read."""
    save(tmp_path / "s" / name, prediction)
    save(tmp_path / "t" / target, LABELS)
    output = evaluate(tmp_path, *options, code=1).stdout
    assert "a.npy: has no affine, and " in output
    assert " is turned from LAS to RAS when it is read" in output
    for path in (tmp_path / "s" / name, tmp_path / "t" / target):
        if path.suffix != ".npy":  # as it is read nothing is turned
            save(path, prediction if path.parent.name == "s" else LABELS, np.eye(4))
    assert evaluate(tmp_path, *options)["scores"]["miou"] == 1


@pytest.mark.parametrize(("values", "options"), [(LABELS, MASKS), (LOGITS, SCORES)])
def test_the_remedy_for_an_array_beside_a_volume_helps(values: Any, options: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "s" / "a.npy", values)
    save(tmp_path / "t" / "a.nii.gz", LABELS)
    lines = evaluate(tmp_path, *options, code=1).stdout.splitlines()
    (line,) = [line for line in lines if "has no affine" in line]
    eval(line.rpartition(": ")[2], {"nibabel": nibabel, "array": np.load(path)})
    path.unlink()
    assert evaluate(tmp_path, *options)["scores"]["miou"] == 1


def test_compare_refuses_an_array_beside_a_volume_that_is_turned(tmp_path: Path) -> None:
    """It would train on mirrored labels."""
    labelling = Labelling(3)
    image, mask = save(tmp_path / "i.nii.gz", LABELS.astype(np.float32)), save(tmp_path / "m.npy", LABELS)
    with pytest.raises(UnreadableFileError, match=r"m\.npy: has no affine, and \S*i\.nii\.gz is turned from LAS"):
        examine(Pair("a", image, mask), labelling, None, None)
    array, volume = save(tmp_path / "i.npy", LABELS[None].astype(np.float32)), save(tmp_path / "m.nii.gz", LABELS)
    with pytest.raises(UnreadableFileError, match=r"i\.npy: has no affine, and \S*m\.nii\.gz is turned from LAS"):
        examine(Pair("a", array, volume), labelling, None, None)
    channel = save(tmp_path / "i_1.nii.gz", LABELS.astype(np.float32))
    with pytest.raises(UnreadableFileError, match=r"i\.npy: has no affine, and \S*i_1\.nii\.gz is turned from LAS"):
        examine(Pair("a", array, mask, (channel,)), labelling, None, None)
    save(image, LABELS.astype(np.float32), np.eye(4))
    examine(Pair("a", image, mask), labelling, None, None)


# ---- the class axis of a volume ----


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, 1), (-1, -1, 1)])
def test_scores_in_a_volume_have_their_classes_last(signs: tuple[int, ...], tmp_path: Path) -> None:
    affine = np.diag([*signs, 1.0])
    save(tmp_path / "t" / "a.nii.gz", LABELS, affine)
    save(tmp_path / "s" / "a.nii.gz", np.moveaxis(LOGITS, -1, 0), affine)
    output = evaluate(tmp_path, *SCORES, code=1).stdout
    assert "mismatched: " in output
    assert "a.nii.gz: has the shape (3, 6, 6, 5), its classes first; the first three axes of a NIfTI file" in output
    save(tmp_path / "s" / "a.nii.gz", LOGITS, affine)
    assert evaluate(tmp_path, *SCORES)["scores"]["miou"] == 1


def test_other_shapes_of_a_volume_are_told_where_the_classes_lie(tmp_path: Path) -> None:
    save(tmp_path / "t" / "a.nii.gz", LABELS)
    save(tmp_path / "s" / "a.nii.gz", LOGITS[..., :2])
    said = "has the shape (6, 6, 5, 2), and "
    assert said in (output := evaluate(tmp_path, *SCORES, code=1).stdout)
    assert "expected scores of 3 classes, (6, 6, 5, 3)\n" in output


@pytest.mark.parametrize("scores", [LOGITS[..., 1], LOGITS[..., 1, None]])
def test_a_volume_may_hold_the_scores_of_class_1_alone(scores: Any, tmp_path: Path) -> None:
    save(tmp_path / "t" / "a.nii.gz", (LABELS == 1).astype(np.uint8))
    save(tmp_path / "s" / "a.nii.gz", scores - 4)
    assert evaluate(tmp_path, *SCORES, classes=2)["scores"]["miou"] == 1
    save(tmp_path / "s" / "a.nii.gz", (scores - 4).reshape(1, *LABELS.shape))
    assert "its classes first" in evaluate(tmp_path, *SCORES, classes=2, code=1).stdout


# ---- units ----


def test_masks_are_decided_for_a_volume_of_an_unknown_unit(tmp_path: Path) -> None:
    target = nibabel.Nifti1Image(LABELS, MIRRORED)
    target.header["xyzt_units"] = 5
    (tmp_path / "t").mkdir()
    target.to_filename(tmp_path / "t" / "a.nii.gz")
    save(tmp_path / "s" / "a.nii.gz", LOGITS)
    assert evaluate(tmp_path, *SCORES, "--decide", "usual")["scores"]["miou"] == 1
    written = nibabel.load(tmp_path / "out" / "masks" / "a.nii.gz")
    assert int(written.header["xyzt_units"]) == 5
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), LABELS)
