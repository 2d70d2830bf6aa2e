"""The embedded scene and its split by place."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lovasz.study.data import split
from lovasz.study.data.parts import IGNORE_INDEX, PARTS, Data
from lovasz.study.data.parts import TEST as TEST_PART
from lovasz.study.data.scene import COMPONENTS, load_indian_pines, principal_components
from lovasz.study.data.split import FRACTIONS, TEST, TRAIN, VAL, VOID, split_by_place


@pytest.fixture(scope="module")
def scene() -> Data:
    return load_indian_pines()


def parts_of(scene: Data) -> np.ndarray:
    """Which part each pixel plays, (H, W), as in ``split``; a pixel plays at most one."""
    labelled = {part: (scene.parts[part].samples[0][1] != IGNORE_INDEX).numpy() for part in PARTS}
    assert sum(labelled.values()).max() == 1
    return sum(labelled[part] * number for part, number in zip(PARTS, (TRAIN, VAL, TEST), strict=True))


def target_of(scene: Data) -> torch.Tensor:
    return torch.stack([scene.parts[part].samples[0][1] for part in PARTS]).amax(0)


def test_scene_is_indian_pines(scene: Data) -> None:
    for part in PARTS:
        (features, _), = scene.parts[part].samples  # fmt: skip
        assert features.shape == (COMPONENTS, 145, 145)
        assert features.dtype == torch.float32
    assert (scene.channels, scene.dims, scene.sizes) == (COMPONENTS, 2, ((145, 145),))
    target = target_of(scene)
    labelled = target[target != IGNORE_INDEX]
    assert len(labelled) == 10_249
    counts = torch.bincount(labelled, minlength=16)
    assert (counts.min(), counts.max(), len(counts)) == (20, 2455, 16)
    # The two names whose pixel counts everyone knows: the order of the names is the labels'.
    assert counts[scene.class_names.index("Oats")] == 20
    assert counts[scene.class_names.index("Woods")] == 1265


def test_every_class_is_in_every_part(scene: Data) -> None:
    for part in scene.parts.values():
        assert min(part.pixels) > 0
        target = part.samples[0][1]
        assert part.pixels == torch.bincount(target[target != IGNORE_INDEX]).tolist()
    assert sorted(scene.parts[TEST_PART].pixels)[:2] == [6, 8]


def test_fractions(scene: Data) -> None:
    parts = parts_of(scene)
    for part, fraction in FRACTIONS.items():
        assert (parts == part).sum() / (parts != VOID).sum() == pytest.approx(fraction, abs=0.005)


def test_split_is_by_place(scene: Data) -> None:
    """In every field, training comes before validation before test along the longer side."""
    target, parts = target_of(scene).numpy(), parts_of(scene)
    assert (parts == split.split_by_place(target, void=IGNORE_INDEX)).all()
    for label in range(scene.num_classes):
        fields, number = ndimage.label(target == label)
        for field in range(1, number + 1):
            rows, columns = np.nonzero(fields == field)
            along = rows if np.ptp(rows) >= np.ptp(columns) else columns
            part = parts[rows, columns]
            for earlier, later in ((TRAIN, VAL), (VAL, TEST), (TRAIN, TEST)):
                if (part == earlier).any() and (part == later).any():
                    assert along[part == earlier].max() <= along[part == later].min()


def test_test_pixels_have_few_neighbours_that_were_learned_from(scene: Data) -> None:
    """A random split would give nearly every test pixel a training neighbour of its class."""
    parts = parts_of(scene)
    learned = np.pad(parts == TRAIN, 1)
    near = learned[:-2, 1:-1] | learned[2:, 1:-1] | learned[1:-1, :-2] | learned[1:-1, 2:]
    assert near[parts == TEST].mean() < 0.05


def test_field_is_cut_along_its_longer_side() -> None:
    split = split_by_place(np.zeros((20, 3), dtype=np.int64), void=-1)
    assert (split == np.repeat([TRAIN, VAL, TEST], [10, 4, 6])[:, None]).all()


def test_fields_of_one_class_are_cut_each_by_itself() -> None:
    target = np.array([[0] * 10 + [-1] + [0] * 10])
    split = split_by_place(target, void=-1)
    assert (split[0, :10] == split[0, 11:]).all()
    assert split[0, 10] == VOID


def test_components_are_fitted_on_training_pixels_alone() -> None:
    generator = np.random.default_rng(0)
    cube = generator.normal(size=(6, 7, 5)) * np.arange(1, 6)
    fit = np.zeros((6, 7), dtype=bool)
    fit[:3] = True
    first = principal_components(cube, fit, 3)
    known = first[:, fit]
    np.testing.assert_allclose(known.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(known, bias=True), np.eye(3), atol=1e-12)
    cube[3:] *= 100
    np.testing.assert_allclose(principal_components(cube, fit, 3)[:, fit], known, atol=1e-12)
