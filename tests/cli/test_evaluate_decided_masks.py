"""The masks that ``lovasz evaluate --decide`` writes: their names, whose rule they are of, and what reads them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lovasz.study.score.decided_masks import DecidedMasks
from tests.cli.commands import assert_refused
from tests.cli.scored import evaluate, make, make_files
from tests.cli.scored import evaluate_list as by_list

LOGITS = ("--scores", "logits")


def files(folder: Path) -> dict[str, bytes]:
    """The content of the files below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- names ----


def test_a_mask_has_the_name_of_its_scores(tmp_path: Path) -> None:
    (x, target), *_ = make(tmp_path, 3, images=1)
    for place in ("s", "t"):
        (tmp_path / place / "city").mkdir()
    np.save(tmp_path / "s" / "city" / "0_pred.npy", x)
    np.savez(tmp_path / "s" / "city" / "1.tar_pred.npz", x)
    (tmp_path / "t" / "0.png").unlink()
    for name in ("0", "1.tar"):
        Image.fromarray(target).save(tmp_path / "t" / "city" / f"{name}.png")
    record = evaluate(tmp_path, *LOGITS, "--decide", "usual")
    assert record["masks"] == "masks"
    assert set(files(tmp_path / "out" / "masks")) == {"city/0_pred.png", "city/1.tar_pred.png"}


@pytest.mark.parametrize("name", ["../a", "/tmp/a", "a/../../b", ".a", "a/.b/c", "."])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=1)
    (tmp_path / "list.csv").write_text(f"prediction,target,name\ns/0.npy,t/0.png,{name}\n")
    refused = by_list(tmp_path, *LOGITS, "--decide", "usual", code=2)
    assert_refused(refused, "is hidden or leads out of", "give other names in the column name of the list")
    assert not (tmp_path / "out" / "masks.partial").exists()


@pytest.mark.parametrize("other", ["./a", "b/../a", "a/", ".//a"])
def test_two_masks_of_one_name_are_refused(other: str, tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=2)
    rows = f"prediction,target,name\ns/0.npy,t/0.png,a\ns/1.npy,t/1.png,{other}\n"
    (tmp_path / "list.csv").write_text(rows)
    said = "leads out of" if ".." in other else "two have the same"
    assert_refused(by_list(tmp_path, *LOGITS, "--decide", "usual", code=2), said)


@pytest.mark.parametrize("name", ["a.png/b", "a.npy/b/c"])
def test_a_folder_of_the_name_of_a_mask_is_refused(name: str, tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=2)
    (tmp_path / "list.csv").write_text(f"prediction,target,name\ns/0.npy,t/0.png,a\ns/1.npy,t/1.png,{name}\n")
    refused = by_list(tmp_path, *LOGITS, "--decide", "usual", code=2)
    assert_refused(refused, f"that of {name} would lie in a folder a.")
    assert not (tmp_path / "out").exists()


def test_the_name_in_a_list_is_that_of_the_mask(tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=2)
    rows = "prediction,target,name\ns/0.npy,t/0.png,left/one\ns/1.npy,t/1.png,two.npy\n"
    (tmp_path / "list.csv").write_text(rows)
    by_list(tmp_path, *LOGITS, "--decide", "usual")
    assert set(files(tmp_path / "out" / "masks")) == {"left/one.png", "two.npy.png"}


def test_masks_of_other_images_are_left_alone(tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=2)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    (tmp_path / "s" / "0.npy").unlink()
    (tmp_path / "t" / "0.png").unlink()
    refused = evaluate(tmp_path, *LOGITS, "--decide", "usual", code=2)
    assert_refused(refused, "holds masks that are not of this evaluation, such as 0.png")
    assert set(files(tmp_path / "out" / "masks")) == {"0.png", "1.png"}
    (tmp_path / "out" / "masks.partial").mkdir()
    assert_refused(evaluate(tmp_path, *LOGITS, "--decide", "usual", code=2), "are both there; delete one of them")


# ---- one folder, one rule ----


def stopping_after(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let writing the next mask fail as if the disk were full."""
    through, seen = DecidedMasks.write, list[int]()

    def write(masks: DecidedMasks, image: int, labels: Any) -> None:
        seen.append(image)
        if len(seen) > images:
            raise OSError("no space")
        through(masks, image, labels)

    monkeypatch.setattr(DecidedMasks, "write", write)


def test_masks_of_two_rules_are_never_called_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for image, (x, _) in enumerate(make(tmp_path, 2)):
        np.save(tmp_path / "s" / f"{image}.npy", x[1] - x[0])
    evaluate(tmp_path, *LOGITS, "--decide", "usual", classes=2)
    usual = files(tmp_path / "out" / "masks")
    evaluate(tmp_path, *LOGITS, "--decide", "image", classes=2, out="other")
    by_image = files(tmp_path / "other" / "masks")
    assert all(usual[name] != by_image[name] for name in usual)
    with monkeypatch.context() as patch:
        stopping_after(3, patch)
        refused = evaluate(tmp_path, *LOGITS, "--decide", "image", "--workers", 1, classes=2, code=2)
    assert "no space" in refused.stderr
    assert not (tmp_path / "out" / "masks").exists()
    mixed = files(tmp_path / "out" / "masks.partial")
    assert {mixed[name] == by_image[name] for name in mixed} == {True, False}
    evaluate(tmp_path, *LOGITS, "--decide", "image", classes=2)
    assert files(tmp_path / "out" / "masks") == by_image
    assert not (tmp_path / "out" / "masks.partial").exists()


def test_an_image_that_is_left_out_has_no_mask_of_an_earlier_rule(tmp_path: Path) -> None:
    make_files(tmp_path, 3)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    (tmp_path / "s" / "2.npy").write_bytes(b"")
    evaluate(tmp_path, *LOGITS, "--decide", "image", code=1)
    assert not (tmp_path / "out" / "masks").exists()
    rest = {f"{n}.png" for n in (0, 1, 3, 4, 5)}
    assert set(files(tmp_path / "out" / "masks.partial")) == rest
    assert evaluate(tmp_path, *LOGITS, "--decide", "image", "--allow-missing")["masks"] == "masks"
    assert set(files(tmp_path / "out" / "masks")) == rest


def test_what_could_not_be_decided_at_all_deletes_nothing(tmp_path: Path) -> None:
    make_files(tmp_path, 3)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    usual = files(tmp_path / "out" / "masks")
    evaluate(tmp_path, "--scores", "probabilities", "--decide", "image", code=1)
    assert files(tmp_path / "out" / "masks") == usual


def test_what_fails_before_a_mask_is_written_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_files(tmp_path, 3)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    usual = files(tmp_path / "out" / "masks")
    stopping_after(0, monkeypatch)
    assert "no space" in evaluate(tmp_path, *LOGITS, "--decide", "image", code=2).stderr
    assert files(tmp_path / "out" / "masks") == usual
    assert not (tmp_path / "out" / "masks.partial").exists()


def test_a_mask_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    make_files(tmp_path, 3, images=2)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out" / "masks").iterdir())]
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "out" / "masks").iterdir())] == before


# ---- volumes ----


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".npy", ".tif"])
def test_masks_of_volumes_are_read_back(kind: str, tmp_path: Path) -> None:
    """The numbers of the masks are those of the scores; a NIfTI mask lies on the grid of its target."""
    import nibabel
    import tifffile

    rng = np.random.default_rng(0)
    # Axes that go front, left and up, in unlike steps: stored in another order than they are read.
    affine = np.array([[0, -0.8, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 2], [0, 0, 0, 1]])
    for place in ("s", "t"):
        (tmp_path / place).mkdir()
    for image in range(3):
        target = rng.integers(0, 3, (6, 5, 4)).astype(np.uint8)
        logits = (rng.normal(size=(3, 6, 5, 4)) + (np.arange(3)[:, None, None, None] == target)).astype(np.float32)
        if kind.startswith(".nii"):
            for place, array in (("t", target), ("s", np.moveaxis(logits, 0, -1))):
                volume = nibabel.Nifti1Image(array, affine)
                volume.header.set_xyzt_units("mm")
                volume.to_filename(tmp_path / place / f"{image}{kind}")
            continue
        np.save(tmp_path / "s" / f"{image}.npy", logits)
        if kind == ".tif":
            tifffile.imwrite(tmp_path / "t" / f"{image}.tif", target, photometric="minisblack")
        else:
            np.save(tmp_path / "t" / f"{image}.npy", target)
    record = evaluate(tmp_path, *LOGITS, "--decide", "image")
    assert record["warnings"] == []
    written = files(tmp_path / "out" / "masks")
    assert set(written) == {f"{image}{'.npy' if kind == '.tif' else kind}" for image in range(3)}
    again = evaluate(tmp_path, scores="out/masks", out="again")
    assert again["classes"] == record["classes"]
    assert again["scores"] == record["scores"]
    evaluate(tmp_path, *LOGITS, "--decide", "image")
    assert files(tmp_path / "out" / "masks") == written
    if kind.startswith(".nii"):
        mask, target = (nibabel.load(tmp_path / place / f"0{kind}") for place in ("out/masks", "t"))
        np.testing.assert_allclose(mask.affine, target.affine)
        assert mask.get_data_dtype() == np.uint8
        assert mask.header.get_xyzt_units() == ("mm", "unknown")
        logits = np.moveaxis(np.asanyarray(nibabel.load(tmp_path / "s" / f"0{kind}").dataobj), -1, 0)
        usual = logits.argmax(0)
        assert mask.shape == usual.shape
        assert (np.asanyarray(mask.dataobj) == usual).mean() > 0.8  # voxel by voxel, as the target is stored


def test_a_mask_of_another_kind_makes_way(tmp_path: Path) -> None:
    """The same names, of stacks and then of pictures: two kinds of one name could not be paired."""
    make(tmp_path, 3, images=1)
    x = np.random.default_rng(0).normal(size=(3, 2, 12, 10)).astype(np.float32)
    (tmp_path / "t" / "0.png").rename(tmp_path / "0.png")
    np.save(tmp_path / "t" / "0.npy", x.argmax(0).astype(np.uint8))
    np.save(tmp_path / "s" / "0.npy", x)
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    assert set(files(tmp_path / "out" / "masks")) == {"0.npy"}
    (tmp_path / "t" / "0.npy").unlink()
    (tmp_path / "0.png").rename(tmp_path / "t" / "0.png")
    np.save(tmp_path / "s" / "0.npy", x[:, 0])
    evaluate(tmp_path, *LOGITS, "--decide", "usual")
    assert set(files(tmp_path / "out" / "masks")) == {"0.png"}
