"""What the benchmarks compare is the same loss, on inputs as described, against the right numbers."""

import csv
import math
import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import lovasz
from benchmarks import (
    cases,
    cpu,
    day,
    decide,
    exact,
    gpu,
    launches,
    measure,
    model,
    pairing,
    peers,
    reduce,
    scaling,
    upsample,
)
from benchmarks.cases import CASES, MID, QUICK, STAGES, Case
from lovasz._math import binning

TINY = (
    Case("image", (2, 5, 12, 14)),
    Case("points", (168, 5)),
    Case("volume", (1, 4, 6, 7, 5)),
    Case("sigmoid", (3, 1, 9, 11), "sigmoid"),
    Case("hinge", (3, 1, 9, 11), "hinge"),
)
tiny = pytest.mark.parametrize("case", TINY, ids=lambda case: case.name)
LOSSES = {form: getattr(lovasz, f"lovasz_{form}") for form in ("softmax", "sigmoid", "hinge")}


def reference(case, logits, target, classes, per_image):
    """Loss and gradient (C, P) by sorting in float64."""
    x = logits.detach().double().requires_grad_()
    value = LOSSES[case.form](x, target, classes=classes, per_image=per_image, bins=None)
    return value.item(), exact.by_class(torch.autograd.grad(value, x)[0])


def loss_and_gradient(one, logits, target):
    x, t = one.prepare(logits, target)
    loss = measure.step(one.loss, x, t).loss
    return loss, exact.by_class(x.grad)


# ---- the same loss ----


@tiny
def test_every_peer_computes_the_loss_it_is_compared_with(case):
    logits, target = cases.inputs(case, MID)
    found, _ = peers.peers(case.form, len(case.shape))
    assert {"published", "batched sort"} <= found.keys()
    for name, one in found.items():
        if name.endswith("compiled"):
            continue  # the same function
        value, gradient = reference(case, logits, target, *one.definition)
        loss, grad = loss_and_gradient(one, logits, target)
        assert_close(loss, value, rtol=1e-5, atol=1e-6, msg=name)
        assert (grad - gradient).norm() <= 1e-4 * gradient.norm(), name


@tiny
def test_ours_computes_the_loss_of_its_definition(case):
    logits, target = cases.inputs(case, MID)
    ours = cpu.own(case)["lovasz"]
    assert_close(loss_and_gradient(ours, logits, target)[0], reference(case, logits, target, *ours.definition)[0])


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(peers, "module", lambda name: None)
    monkeypatch.setattr(peers, "torch_pointcloud", lambda: None)
    found, missing = peers.peers("softmax", 4)
    assert missing == ["kornia", "torch-pointcloud"]
    assert found.keys() == {"published", "batched sort", "batched sort, compiled"}


def test_large_and_other_dtypes_have_no_peers():
    assert not cpu.other(cases.named("VOC, bfloat16"), cpu.Options())
    assert not cpu.other(cases.named("ADE20K"), cpu.Options())
    assert cpu.other(cases.named("ADE20K"), cpu.Options(all_peers=True))


@tiny
@pytest.mark.parametrize(("classes", "per_image"), [("present", False), ("all", False), ("all", True)])
def test_class_by_class_is_sorting(case, classes, per_image):
    if per_image and len(case.shape) == 2:
        pytest.skip("a point cloud is one image")
    logits, target = cases.inputs(case, MID)
    if case.form == "softmax":
        target = target.where(target != 1, 0)  # a class without pixels
    value, gradient = exact.value_and_gradient(case.form, logits, target, classes, per_image)
    expected, expected_gradient = reference(case, logits, target, classes, per_image)
    assert_close(value, expected, rtol=1e-12, atol=0)
    assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-15)


# ---- the inputs ----


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("case", CASES + QUICK, ids=lambda case: case.name)
def test_inputs_are_as_the_case_says(case, stage):
    small = case.shrunk(32)
    logits, target = cases.inputs(small, stage)
    assert logits.shape == small.shape
    assert logits.dtype == case.dtype
    by_layout = {"planar": torch.contiguous_format, "channels_last": torch.channels_last}
    assert logits.is_contiguous(memory_format=by_layout[case.layout])
    points = len(case.shape) == 2
    assert target.shape == (small.shape[:1] if points else (small.shape[0], *small.shape[2:]))
    assert target.dtype == (torch.int64 if case.form == "softmax" else torch.uint8)
    C = 2 if case.form != "softmax" else case.shape[1]
    assert target.min() >= 0
    assert target.max() < C
    preds = (logits[:, 0] > 0).long() if case.form != "softmax" else logits.argmax(1)
    right = (preds == target).double().mean()
    assert right > 0.99 if stage.name == "late" else right < 0.99


def test_a_shrunk_case_keeps_images_and_classes():
    assert Case("image", (2, 5, 64, 32)).shrunk(8).shape == (2, 5, 8, 4)
    assert Case("points", (600, 5)).shrunk(8).shape == (75, 5)
    assert Case("image", (2, 5, 64, 32)).elements == 2 * 5 * 64 * 32


@pytest.mark.parametrize("shape", [(1, 5, 128, 128), (1, 5, 40, 40, 40), (1, 5, 10_000)])
def test_labels_lie_in_blobs(shape):
    _, target = cases.blobs(shape, 1.5, 2)
    assert target.unique().numel() > 1
    assert (target[..., 1:] == target[..., :-1]).double().mean() > 0.9


def test_names_are_unique_and_begin_the_selection():
    names = [case.name for case in CASES + QUICK]
    assert len(set(names)) == len(names)
    assert [case.name for case in cpu.selected(CASES, cpu.Options(only=["ADE", "points"]))] == [
        "ADE20K", "ADE20K, channels last", "points",
    ]  # fmt: skip


# ---- the numbers beside ----


def test_the_floor_is_two_reads_and_a_write():
    assert measure.floor_ms(torch.zeros(1000, dtype=torch.bfloat16), 6e6) == pytest.approx(1.0)
    assert measure.floor_ms(torch.zeros(1000), 12e6) == pytest.approx(1.0)
    assert measure.copy_bandwidth(1000) > 0


def test_the_spread_is_between_the_quartiles():
    assert measure.interquartile_range([4, 0, 1, 3, 2]) == 2
    assert measure.interquartile_range([7]) == 0


def rows(monkeypatch, case):
    monkeypatch.setattr(measure, "in_a_fresh_process", lambda code: 3.5)
    return list(cpu.rows_of(case, MID, cpu.Options(repeats=2, quick=True), 1e9))


def test_rows_hold_errors_and_ratios(monkeypatch):
    found = {r.implementation: r for r in rows(monkeypatch, QUICK[0].shrunk(4))}
    assert next(iter(found)) == "cross_entropy"
    assert found["cross_entropy"].ratio == 1
    assert math.isnan(found["lovasz + ce"].loss_error)
    ours = found["lovasz"]
    assert ours.loss_error < 1e-4
    assert ours.gradient_error < 1e-2
    assert (ours.shape, ours.peak_mib) == ("1x21x32x32", 3.5)
    assert ours.ratio == pytest.approx(ours.both_ms / found["cross_entropy"].both_ms)
    assert ours.floor_ms == pytest.approx(1e3 * 3 * 4 * 21 * 32 * 32 / 1e9)
    assert ours.times_floor == pytest.approx(ours.both_ms / ours.floor_ms)


def test_a_peer_that_fails_is_named_and_left_out(monkeypatch, capsys):
    def fails(logits, target):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(peers, "batched_sort", fails)
    found = {r.implementation for r in rows(monkeypatch, QUICK[0].shrunk(4))}
    assert "published" in found
    assert "batched sort" not in found
    assert "batched sort skipped: RuntimeError: no compiler" in capsys.readouterr().out


def test_the_summary_puts_the_target_beside_each_number(monkeypatch):
    one = rows(monkeypatch, QUICK[0].shrunk(4))[0]
    mib = 8 * 32 * 32 / 2**20
    found = [
        one._replace(implementation="cross_entropy", both_ms=10, ratio=1, peak_mib=500),
        one._replace(implementation="lovasz", both_ms=5, ratio=0.5, peak_mib=20 + mib),
        one._replace(implementation="lovasz", both_ms=9, ratio=0.9, stage="late", peak_mib=math.nan),
        one._replace(implementation="published", both_ms=400, ratio=40),
        one._replace(implementation="batched sort", both_ms=100, ratio=10),
        one._replace(implementation="lovasz + ce", both_ms=8, ratio=0.8, peak_mib=30 + mib),
    ]
    assert cpu.summary(found) == [
        "lovasz: ratio, median 0.70 (target <= 0.7), largest 0.90 (target <= 1.1)",
        "lovasz + ce: ratio, median 0.80 (target <= 0.8), largest 0.80 (target <= 1.2)",
        "10 or more classes: 20.0 times as fast as fastest sorting peer at least (target >= 12)",
        "10 or more classes: 80.0 times as fast as published at least (target >= 30)",
        "lovasz: peak memory beyond 8 bytes a pixel, largest 20.0 MiB (target <= 64)",
        "lovasz + ce: peak memory beyond 8 bytes a pixel, largest 30.0 MiB (target <= 64)",
    ]


def test_what_was_found_is_kept_when_interrupted(monkeypatch, tmp_path, capsys):
    (row, *_) = rows(monkeypatch, QUICK[1].shrunk(4))

    def one_row_then_interrupted(*args):
        yield row
        raise KeyboardInterrupt

    monkeypatch.setattr(cpu, "rows_of", one_row_then_interrupted)
    file = tmp_path / "rows.csv"
    cpu.print_table(str(file), cpu.Options(quick=True))
    with file.open() as lines:
        (kept,) = csv.DictReader(lines)
    assert tuple(kept) == cpu.Row._fields
    assert kept["implementation"] == "bce"
    assert "interrupted" in capsys.readouterr().out


# ---- the same on a GPU, here with the CPU in its place ----


def test_the_gpu_benchmark_prints_rows_summary_and_determinism(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(measure, "in_a_fresh_process", lambda code: 3.5)
    monkeypatch.setattr(gpu, "CASES", (Case("VOC batch", (1, 12, 32, 32)), Case("hinge", (2, 1, 32, 32), "hinge")))
    monkeypatch.setattr(cpu, "other", lambda case, options: {})
    file = tmp_path / "rows.csv"
    gpu.print_table(str(file), cpu.Options(repeats=1, quick=True, device="cpu"))
    with file.open() as lines:
        found = {(r["case"], r["stage"], r["implementation"], r["shape"]) for r in csv.DictReader(lines)}
    assert ("VOC batch", "equal", "lovasz", "1x12x16x16") in found
    assert ("hinge", "late", "bce", "2x1x16x16") in found
    said = capsys.readouterr().out
    assert "lovasz: ratio, median" in said
    assert "hinge: 10 of 10 steps have the same bits" in said
    assert "kernel: C++" in said or "kernel: PyTorch" in said
    assert re.search(r"VOC batch: [\d.]+ \+ [\d.]+ ms, by the model of the CUDA kernel on an H100 0\.\d", said)
    case, stage = gpu.slowest(str(file))
    assert (case, stage) in {(one.name, of.name) for one in gpu.CASES for of in gpu.stages_of(one)}
    gpu.print_profile("hinge", "mid", "cpu")
    assert "bound by memory" in capsys.readouterr().out


# ---- a model of the launches, and the day that it is held against ----


def test_a_case_asks_for_the_launches_of_the_kernel():
    both = launches.launches_of(Case("VOC batch", (16, 21, 512, 512)))
    assert [one.kernel for one in both.forward] == ["states", "count", "merge", "weigh"]
    assert [one.kernel for one in both.backward] == ["apply"]
    count = both.forward[1]
    assert count.shared == 4 * 2 * (binning.default_bins(21, "softmax") + 1) * 3  # three classes at once
    assert 119 <= count.blocks <= 132
    both = launches.launches_of(Case("hinge", (2, 1, 64, 64), "hinge"), upsample="linear")
    assert [one.kernel for one in both.backward] == ["interpolate", "apply", "collect"]


def test_the_model_reads_and_writes_what_it_should():
    """States read the logits and the labels once and write 9 bytes a pixel; apply reads and writes the logits."""
    case = Case("VOC batch", (16, 21, 512, 512))
    forward, backward = model.expected(case)
    logits, pixels = 4 * case.elements, case.elements // 21
    rate = 1e-3 * model.RATES["memory"]
    assert_close(forward[0].memory_ms * rate, float(logits + 17 * pixels))
    assert_close(backward[0].memory_ms * rate, float(2 * logits + 8 * pixels))
    assert forward[0].bound_by == "memory"
    assert forward[0].total_ms == forward[0].memory_ms + 1e3 * model.LAUNCH_SECONDS
    of_launches = sum(row.total_ms for row in forward + backward)
    assert_close(sum(model.step_ms(case)), of_launches + 1e3 * model.OTHER_SECONDS)
    assert_close(model.cross_entropy_ms(case) - 4e3 * model.LAUNCH_SECONDS, (6 * logits + 16 * pixels) / rate)


def test_the_model_prints_every_case(capsys):
    model.print_table(gpu.CASES, None)
    said = capsys.readouterr().out
    assert said.startswith("A model, not a measurement")
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    for line in model.summary(gpu.CASES):
        assert f"\n{line}\n" in said
        assert f"\n{line}\n" in page
    of_softmax = model.ratios([case for case in gpu.CASES if case.form == "softmax"])
    words = re.sub("<!--.*?-->", "", page)
    assert f"the softmax takes {min(of_softmax):.2f} to {max(of_softmax):.2f} of cross-entropy" in words
    assert min(model.ratios([case for case in gpu.CASES if case.form != "softmax"])) > 1  # as it says too


def test_a_day_goes_on_after_a_step_that_fails(tmp_path, monkeypatch, capsys):
    asked = []

    def run(command, env, check):
        asked.append((command[1:], env.get("LOVASZ_CUDA_KERNEL")))
        if "gpu" in command:
            rows = "case,stage,implementation,ratio\nVOC batch,mid,lovasz,0.5\nvolumes,late,lovasz,0.9\n"
            (tmp_path / command[-1]).write_text(rows)
        return type("Done", (), {"returncode": int("pytest" in command)})

    monkeypatch.setattr("subprocess.run", run)
    profiled = []
    monkeypatch.setattr(gpu, "print_profile", lambda *args: profiled.append(args))
    with pytest.raises(SystemExit, match=r"failed: tests/core/test_cuda\.py, tests/core/test_triton\.py"):
        day.print_day(str(tmp_path))
    assert [command[1] for command, _ in asked] == ["lovasz", *["pytest"] * len(day.TESTS), *["benchmarks"] * 3]
    assert [command[-1] for command, _ in asked if "pytest" in command] == [
        f"tests/core/{name}" for name in day.TESTS
    ]
    assert [kernel for command, kernel in asked if "gpu" in command] == ["cuda", "triton"]
    assert profiled == [("volumes", "late")]
    assert all((Path("tests/core") / name).exists() for name in day.TESTS)


def test_the_gpu_benchmark_says_that_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="needs a GPU that PyTorch can use"):
        gpu.print_table(None, cpu.Options(device="cuda"))


def test_the_summary_of_the_gpu(monkeypatch):
    one = rows(monkeypatch, QUICK[0].shrunk(4))[0]._replace(shape="16x21x512x512", peak_mib=math.nan)
    found = [
        one._replace(implementation="cross_entropy, compiled", both_ms=0.6, ratio=0.6),
        one._replace(implementation="lovasz", both_ms=0.5, ratio=0.5, times_floor=2.0, peak_mib=132),
        one._replace(implementation="lovasz", both_ms=0.9, ratio=0.9, times_floor=4.0, stage="late"),
        one._replace(implementation="lovasz", both_ms=9.0, ratio=9.0, times_floor=4.0, stage="equal"),
        one._replace(implementation="published", both_ms=20, ratio=20),
        one._replace(implementation="lovasz + ce", both_ms=0.8, ratio=0.8, peak_mib=112),
    ]
    assert gpu.summary(found) == [
        "lovasz: ratio, median 0.70 (target <= 0.7), largest 0.90 (target <= 1.0)",
        "lovasz + ce: ratio, median 0.80 (target <= 0.8), largest 0.80 (target <= inf)",
        "lovasz: from 2^26 logits on 25 % of the floor's speed at least (target >= 40)",
        "40 times as fast as published at least (target >= 30)",
        "ours: peak memory beyond 8 bytes a pixel, largest 100.0 MiB (target <= 128)",
    ]


# ---- size and threads ----


@pytest.mark.parametrize("exponent", [18, 21, 27])
def test_sizes_are_powers_of_two(exponent):
    shape = scaling.shape_of(2**exponent)
    assert torch.Size(shape).numel() == 2**exponent
    assert shape[3] in (shape[2], 2 * shape[2])


def test_scaling_gives_each_size_with_each_number_of_threads(monkeypatch):
    monkeypatch.setattr(scaling, "REPEATS", (1, 1))
    before = torch.get_num_threads()
    found = list(scaling.scaling_rows((12, 13), (1,)))
    assert [(r.elements, r.threads, r.speedup_of_threads) for r in found] == [(2**12, 1, 1), (2**13, 1, 1)]
    assert torch.get_num_threads() == before


def test_the_summary_of_scaling():
    row = scaling.ScalingRow(2**22, "", 1, 2.0, 0.0, 1.0, "", "", "")
    found = [
        row,
        row._replace(elements=2**23, ns_per_element=3.0),
        row._replace(threads=2, ns_per_element=1.0, speedup_of_threads=2.0),
        row._replace(threads=2, ns_per_element=1.5, speedup_of_threads=1.8, elements=2**23),
        row._replace(threads=2, ns_per_element=1.2, speedup_of_threads=0.5, elements=2**21),
    ]
    assert scaling.scaling_summary(found) == [
        "1 threads: slowest size / fastest 1.50 (target <= 1.4)",
        "2 threads: slowest size / fastest 1.50 (target <= 1.4)",
        "speed-up of 2 threads from 2^22 logits on: 1.80 at least (target >= 1.7)",
    ]


def test_the_parts_of_a_small_call_add_up():
    found = {r.what: r.microseconds for r in scaling.small_rows((1, 2, 8, 8), 1)}
    operators = sum(found[f"operator {name}"] for name in ("count", "weigh", "apply"))
    assert found["checks, reduction, autograd"] == pytest.approx(found["lovasz"] - operators)
    assert found["cross_entropy"] > 0


# ---- logits coarser than the labels ----


def test_rows_of_upsampling_are_checked_against_sorting():
    case = upsample.Case("tiny", (1, 5, 16, 16), (64, 64))
    rows = {r.implementation: r for r in upsample.rows_of(case._replace(name=upsample.QUICK[0].name), 1, "cpu")}
    assert next(iter(rows)) == upsample.UNIT
    assert rows[upsample.UNIT].ratio == 1
    for name in ("lovasz", "interpolate + lovasz"):
        assert rows[name].loss_error < 1e-4
        assert rows[name].gradient_error < 1e-2
    both = rows["lovasz"].loss + rows[upsample.UNIT].loss
    assert rows["lovasz + ce"].loss == pytest.approx(both, rel=1e-5)


def test_the_summary_of_upsampling_names_its_targets():
    numbers = (1, 0, 0, 1, 1, 2, 0, 0.3, 70, 6, 20)
    row = upsample.UpsampleRow("a", "lovasz", "", "cpu", 2, "4x150x8x8", "32x32", *numbers, "", "")
    volume = row._replace(shape="1x4x8x8x8", ratio=0.4, bytes_a_pixel=1, times_less_memory=3)
    assert upsample.summary([row, volume, row._replace(implementation="lovasz + ce", ratio=9)]) == [
        "ratio, largest 0.40 (target <= 0.8)",
        "bytes a pixel of labels beyond 64 MiB, most 6.0 (target <= 8)",
        "more than 4 classes: memory, 20 times less at least (target >= 12)",
    ]


# ---- the all-reduce ----


def test_a_table_is_as_large_as_said_and_the_model_has_its_limits():
    counts = lovasz.count(torch.zeros(4, 19), torch.zeros(4, dtype=torch.long))
    assert reduce.table_bytes(19, counts.bins) == counts.table.nbytes
    assert reduce.modelled_seconds(10**9, 2, 1e9, 0.0) == 1.0
    assert reduce.modelled_seconds(0, 1024, 1e9, 1e-6) == pytest.approx(20e-6)


# ---- decisions ----


def test_the_decisions_are_compared_on_the_same_images():
    rows = {r.implementation: r for r in decide.rows_of(decide.QUICK[0], 1)}
    assert list(rows) == ["argmax", "image_decision", "DatasetDecision", "rankseg"]
    assert rows["argmax"].ratio == rows["image_decision"].over_image_decision == 1
    assert rows["image_decision"].differs == 0 < rows["rankseg"].differs < 0.1
    assert rows["DatasetDecision"].expected_iou == rows["argmax"].expected_iou  # until it is fitted
    assert rows["image_decision"].expected_iou > rows["argmax"].expected_iou
    assert all(row.milliseconds > 0 and row.peak_mib >= 0 for row in rows.values())


def test_the_iou_that_is_expected_is_that_of_the_probabilities():
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    expected = (1.5 / (2 + 1.7 - 1.5) + 0.8 / (1 + 1.3 - 0.8)) / 2
    logits = p.log().t()[None, :, :, None]
    assert decide.expected_iou(logits, torch.tensor([[[0], [0], [1]]])) == pytest.approx(expected)


def test_the_summary_of_decisions_is_that_of_the_worst_case():
    def row(shape, name, over, mib):
        return decide.DecideRow(shape, name, "", 2, 1.0, 0.0, 1.0, over, mib, 0.5, 0.0, "", "")

    rows = [row("a", "image_decision", 1, 10), row("a", "rankseg", 9.0, 40), row("b", "rankseg", 6.0, 90),
            row("b", "image_decision", 1, 5)]  # fmt: skip
    assert decide.summary(rows) == [
        "rankseg takes 6.0 times as long as image_decision at least (target >= 5)",
        "and 4.0 times the memory (target >= 10)",
    ]


def test_names_are_paired_in_every_way_there_is(capsys, monkeypatch):
    monkeypatch.setattr(pairing, "REPEATS", 1)
    rows = list(pairing.rows(quick=True))
    assert [row.names for row in rows] == list(pairing.NAMES)
    assert all(row.pairs == 1_000 and row.seconds > 0 for row in rows)  # and each has paired all, or it raises
