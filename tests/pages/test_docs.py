"""The documentation: it builds without a warning, its code runs, its pages need no network and fit a phone."""

import csv
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nibabel
import numpy as np
import pytest
import torch
from filelock import FileLock
from typer.testing import CliRunner

from benchmarks import coverage, gpu, model, population, results, tables
from lovasz import _fitting
from lovasz._inputs.arguments import parse_bins
from lovasz._kernels import strips
from lovasz.cli.app import app
from lovasz.study.summary import image_table, resample_tables, resampling, score_intervals, subgroups
from lovasz.study.summary.stats import signed
from studies import tables as study_tables
from tests.pages.browser import chromium, open_page

sys.path.append(str(Path(__file__).parents[2] / "docs"))

import figures

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
RAN_HERE = ("decisions", "index", "intervals", "tutorial", "how")  # the pages whose code this file runs


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages, built as `make docs` builds them: once, by the first process of pytest that needs them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out = shared / "docs"
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-d", str(out / "doctrees"),
               "-b", "html", "docs", str(out / "html")]  # fmt: skip
    with FileLock(shared / "docs.lock"):
        if not out.exists():
            out.mkdir()
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            (out / "said").write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    assert (out / "said").read_text() == "0\n"
    return out / "html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


class _Page(HTMLParser):
    """What a page names: its ids, what it links to and what it loads."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids |= {named["id"]} if named.get("id") else set()
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        elif tag != "a":
            self.loaded += [named[name] for name in ("href", "src", "srcset", "data") if named.get(name)]


def _pages(site):
    return {file: _Page(file) for file in sorted(site.rglob("*.html"))}


def test_every_page_is_built(site):
    names = {file.relative_to(DOCS).with_suffix("").as_posix() for file in DOCS.rglob("*.md")}
    assert {"index", "tutorial", "how", "performance", "evidence", "scale", "limits", "api/losses"} <= names
    for name in names:
        assert (site / f"{name}.html").exists(), name


def _named(file):
    """A file or folder as the pages for contributors name it: from the top, the package, or one of its folders."""
    package = ROOT / "src" / "lovasz"
    roots = (ROOT, package, *package.glob("*/"))
    return next((root / file for root in roots if (root / file).exists()), None)


def test_contributors_are_sent_to_what_is_there():
    house, contributing = (DOCS / "house.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()
    for page in (house, contributing):
        files = re.findall(r"`((?:[\w.]+/)*[\w.]+(?:/|\.py|\.hpp|\.md))`", page)
        assert len(files) > 5
        for file in files:
            assert _named(file), file
    names = re.findall(r"`(\w+)`\s(?:of|in)\s`([\w/.]+\.py)`", house + contributing)
    assert len(names) >= 4
    for name, file in names:
        assert name in _named(file).read_text(), (name, file)


def test_every_internal_link_leads_somewhere(site):
    pages = _pages(site)
    seen = 0
    for file, page in pages.items():
        for link in page.links + page.loaded:
            if urlsplit(link).scheme:
                continue
            path, fragment = urldefrag(link)
            path = path.partition("?")[0]
            to = (file.parent / unquote(path)).resolve() if path else file
            assert to.is_file(), f"{file.name} names {link}"
            if fragment and to in pages:
                assert unquote(fragment) in pages[to].ids, f"{file.name} links to {link}"
            seen += 1
    assert seen > 500


def test_nothing_is_loaded_from_elsewhere(site):
    for file, page in _pages(site).items():
        for link in page.loaded:
            assert urlsplit(link).scheme in ("", "data"), f"{file.name} loads {link}"
    for file in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        assert not re.search(r"""(?:url\(|@import|xlink:href=|src=)\s*["']?(?:https?:)?//""", file.read_text()), (
            file
        )


def test_every_public_name_has_an_entry(site):
    import lovasz
    import lovasz.berman
    import lovasz.metrics

    ids = set().union(*(page.ids for file, page in _pages(site).items() if file.parent.name == "api"))
    for module in (lovasz, lovasz.berman, lovasz.metrics):
        for name in module.__all__:
            assert f"{module.__name__}.{name}" in ids
    assert "lovasz.Counts.bound" in ids


def test_every_page_opens_and_fits(site, browser):
    """390 px: a phone. Code and tables may scroll in their boxes, the page may not."""
    for file in _pages(site):
        with open_page(browser, file, 1280, dark=True, site=site) as page:
            for width, shade in ((1280, "dark"), (390, "light")):
                page.set_viewport_size({"width": width, "height": 900})
                page.emulate_media(color_scheme=shade)
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{file.name} is {wide} px too wide for {width}"
                broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
                assert not broken


@pytest.mark.parametrize("dark", [False, True])
def test_a_figure_is_shown_in_the_shade_of_the_page(site, browser, dark):
    with open_page(browser, site / "how.html", 1280, dark, site=site) as page:
        shown = page.evaluate("[...document.images].filter(i => i.checkVisibility()).map(i => i.src)")
        assert len(shown) == 4
        assert all(f"-{'dark' if dark else 'light'}.svg" in source for source in shown)
        assert page.evaluate("[...document.images].every(i => i.alt.length > 50)")


def test_the_search_finds_an_argument_without_a_server(site, browser):
    with open_page(browser, site / "index.html", 1280, site=site) as page:
        page.fill("input[name=q]", "ignore_index")
        page.press("input[name=q]", "Enter")
        page.wait_for_selector("#search-results li a")
        page.wait_for_function("document.querySelector('.search-summary')?.textContent.includes('found')")
        found = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.getAttribute('href'))")
        assert any(link.startswith("api/losses.html") for link in found), found
        page.click("#search-results li a[href^='api/losses.html']")
        page.wait_for_selector("h1:has-text('Losses')")


def _blocks(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.DOTALL)


@pytest.fixture
def one_process(monkeypatch):
    """What torchrun sets for one process; one thread, which a busy machine does not slow down."""
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", "0"), ("RANK", "0"), ("WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _run(name):
    names = {}
    for block in _blocks(name):
        exec(compile(block, f"docs/{name}.md", "exec"), names)
    return names


@pytest.mark.parametrize("name", sorted({*RAN_HERE} - {"tutorial"}))
def test_every_python_block_of_the_page_runs(name):
    assert _blocks(name)
    _run(name)


def test_probabilities_of_nnunet_are_scored_where_its_masks_lie(tmp_path, monkeypatch):
    """A cube, whose axes no shape tells apart, in the order of many scanners; the page's code, then its command."""
    random, affine = np.random.default_rng(0), np.diag([-1.0, -1.0, 2.0, 1.0])
    target = random.integers(0, 3, (6, 6, 6)).astype(np.uint8)  # (x, y, z)
    scores = 0.8 * np.moveaxis(np.eye(3)[target], -1, 0) + random.random((3, 6, 6, 6))
    scores = (scores / scores.sum(0)).transpose(0, 3, 2, 1)  # (C, z, y, x)
    for folder in ("predicted", "labelsTs"):
        (tmp_path / folder).mkdir()
    np.savez_compressed(tmp_path / "predicted" / "case_1.npz", probabilities=scores.astype(np.float32))
    nibabel.save(nibabel.Nifti1Image(target, affine), tmp_path / "labelsTs" / "case_1.nii.gz")
    monkeypatch.chdir(tmp_path)
    _run("files")
    command = ["evaluate", "scores", "labelsTs", "--scores", "probabilities", "--decide", "usual",
               "--num-classes", "3", "--out", "out"]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    preds = scores.argmax(0).transpose()
    with open(tmp_path / "out" / "confusion.csv", newline="") as text:
        _, *rows = csv.reader(text)
    counted = [[int(((target == a) & (preds == b)).sum()) for b in range(3)] for a in range(3)]
    assert [[int(cell) for cell in row[1:]] for row in rows] == counted
    written = nibabel.load(tmp_path / "out" / "masks" / "case_1.nii.gz")
    assert (np.asarray(written.dataobj) == preds).all()


def test_the_tutorial_runs_and_prints_what_it_says(one_process, capsys):
    names = _run("tutorial")
    printed = capsys.readouterr().out
    page = (DOCS / "tutorial.md").read_text()
    said = [[float(n) for n in numbers.split(", ")] for numbers in re.findall(r"# about ([\d., ]+)\n", page)]
    got = [[float(n) for n in numbers.split(", ")] for numbers in re.findall(r"tensor\(\[(.*?)\]\)", printed)]
    assert len(said) == 4
    assert len(got) == len(said)
    for ours, theirs in zip(said, got, strict=True):  # another machine rounds otherwise, and trains otherwise
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=0.15, rtol=0)
    assert got[2][2] > got[1][2] + 0.1  # the small discs gain
    assert got[2][0] > got[1][0] - 0.02  # and the others keep what they had
    assert got[2][1] > got[1][1] - 0.02
    assert "255 (8192x)" in printed
    assert "torch.bfloat16 torch.float32" in printed
    assert names["value"].isfinite()
    monai = pytest.importorskip("monai.inferers")
    whole, network = names["test_images"], names["by_both"]
    with torch.no_grad():
        theirs = monai.sliding_window_inference(whole, 32, 16, network, overlap=0.5)
    torch.testing.assert_close(names["in_windows"](network, whole), theirs)


def test_the_figures_are_the_same_bytes_each_time(site, tmp_path, monkeypatch):
    measured = dict.fromkeys(("published", "counting", "sorting, closed form"), [1e-3] * len(figures.POWERS))
    monkeypatch.setattr(figures, "gradient_errors", lambda: measured)  # the slow part
    for folder in ("first", "second"):
        figures.draw(tmp_path / folder)
    drawn = sorted((tmp_path / "first").iterdir())
    assert len(drawn) == 12
    for file in drawn:
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes(), file.name
        built = site / "_images" / file.name  # by another process
        assert (file.read_bytes() == built.read_bytes()) != file.name.startswith("gradient-error"), file.name


def test_the_figures_say_what_the_page_says():
    """The numbers in the text and in the descriptions of how.md are those that are drawn."""
    page = (DOCS / "how.md").read_text()
    weights, exact = figures.weights_by_sorting()
    table = figures.table_by_counting()
    loss, bound = (f(table, "sigmoid").item() for f in (figures.jaccard.losses, figures.jaccard.bounds))
    assert abs(sum(weights) - 1) < 1e-12
    assert abs(loss - exact) <= bound
    assert f"adds up to {exact:.3f}" in page
    assert f"the loss is {loss:.3f}, certified within {bound:.3f}" in page
    exact, rows = figures.bands()
    assert all(abs(value - exact) <= bound for _, value, bound in rows)
    assert f"falls from {rows[0][2]:.0e} to {rows[-1][2]:.0e}".replace("e-0", "e-") in page
    thresholds, score, (best, highest) = figures.head()
    assert best < 0.5
    assert 0 <= score.nan_to_num().max() - highest < 1e-3  # the highest that is certain
    assert highest > score[int((thresholds < 0.5).sum())] + 0.05
    mid = dict(figures.stages())["mid"]
    assert f"the area is its loss, {mid.loss().item():.2f}" in page


def test_the_page_of_decisions_says_what_a_fit_costs():
    passes = _fitting.BIAS_PASSES + _fitting.PASSES
    decided = 1 + passes * (_fitting.FOLDS + 1) + 2 * (1 + len(_fitting.SHRINKAGE))
    words = " ".join((DOCS / "decisions.md").read_text().split())
    assert f"`fit` takes {passes + 2} passes, in which it decides every pixel {decided} times" in words


def test_the_error_of_differences_grows_with_the_image(monkeypatch):
    monkeypatch.setattr(figures, "POWERS", (14, 18))
    found = figures.gradient_errors()
    assert 8 < found["published"][1] / found["published"][0] < 32  # 16 times the pixels
    assert found["counting"][1] < 1e-4
    assert max(found["sorting, closed form"]) < 1e-5


def test_what_a_page_repeats_of_a_measurement_is_what_was_kept():
    """Tables and numbers between marks, each of which somebody makes, and the site's classes for them."""
    made = tables.everything() | {name: "\n".join(lines) for name, lines in study_tables.tables().items()}
    pages = {page: page.read_text() for page in DOCS.glob("*.md")}
    for page, text in pages.items():
        assert tables.filled(text, made) == text, page
        assert text.count("<!-- kept ") == text.count("<!-- end -->"), page
        shown_as_it_is = re.findall(r"\{\{|\{download\}|^\{\.", text, re.MULTILINE)  # where no site is built
        assert not shown_as_it_is, page
    assert set(made) == {name for text in pages.values() for name in re.findall(r"<!-- kept ([\w-]+) -->", text)}
    assert tables.filled("at <!-- kept a -->old<!-- end --> or <!-- kept b -->2<!-- end -->", {"a": "1"}) == (
        "at <!-- kept a -->1<!-- end --> or <!-- kept b -->2<!-- end -->"
    )
    assert (
        tables.filled("<!-- kept a --><!-- end -->", {"a": "| x |\n| y |"})
        == "<!-- kept a -->\n| x |\n| y |\n<!-- end -->"
    )


def test_numbers_that_stand_beside_those_between_marks():
    limits, page = (" ".join((DOCS / name).read_text().split()) for name in ("limits.md", "gpu.md"))
    converged = [row for row in results.read("accuracy") if row["regime"].startswith("converged")]
    assert "most for the hinge, where the errors were below 1e-4 of them" in limits
    assert max(converged, key=lambda row: float(row["certified_bound"]))["loss_name"] == "hinge"
    assert max(float(row["loss_error"]) for row in converged) < 1e-4
    times = [
        float(row["gradient_error"]) / float(row["published_gradient_error"]) for row in results.read("accuracy")
    ]
    nearer = [one for one in times if one > 1]
    said = f"In {len(nearer)} of the {len(times)} rows the published gradient is nearer, "
    said += f"{min(nearer):.0f} to {max(nearer):.0f} times"
    assert said in " ".join((DOCS / "performance.md").read_text().split())
    assert f"a strip of at most 2^{strips.STRIP.bit_length() - 1} logits" in page
    assert strips.STRIP.bit_count() == 1


def test_a_class_in_a_comment_is_given_to_what_follows(site):
    text = (site / "performance.html").read_text()
    assert (
        text.count('<table class="numbers docutils')
        == (DOCS / "performance.md").read_text().count(".numbers -->")
        == 5
    )
    assert re.search(r'<p class="panel"><img', text)
    assert '<table class="even docutils' in (site / "files.html").read_text()


def test_the_tables_are_the_kept_rows(site):
    source = (DOCS / "performance.md").read_text()
    words = " ".join(re.sub(r"<[^>]+>", " ", (site / "performance.html").read_text()).split())
    for table in (tables.speed, tables.accuracy, tables.upsample, tables.small, tables.scaling):
        assert f"<!-- kept {table.__name__} -->\n{table()}\n<!-- end -->" in source
        lines = table().splitlines()[2:]
        assert len(lines) >= 3
        for line in lines:
            cells = " ".join(line.replace("|", " ").replace("`", "").split())
            assert cells.replace("'", "’") in words, cells


def test_a_row_of_a_table_is_a_row_that_was_kept():
    """Against the files themselves, read without the code that makes the tables."""
    results = ROOT / "benchmarks" / "results"
    with (results / "accuracy.csv").open() as file:
        for r in csv.DictReader(file):
            columns = ("exact_loss", "loss_error", "certified_bound", "gradient_error",
                       "published_loss_error", "published_gradient_error")  # fmt: skip
            numbers = " | ".join(f"{float(r[c]):.1e}" for c in columns)
            row = f"{r['loss_name']} | {r['regime']} | 2^{int(r['pixels']).bit_length() - 1} | {numbers}"
            assert row in tables.accuracy()
    with (results / "cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    for case in dict.fromkeys(r["case"] for r in rows):
        ours = [f"{float(r['ratio']):.2f}" for r in rows if (r["case"], r["implementation"]) == (case, "lovasz")]
        assert re.search(rf"\| {re.escape(case)} \| .* \| {' '.join(ours)} \|", tables.speed()), case


def test_the_page_on_intervals_says_what_they_cost(site):
    with (ROOT / "benchmarks" / "results" / "resample.csv").open() as file:
        rows = list(csv.DictReader(file))
    words = " ".join(re.sub(r"<[^>]+>", " ", (site / "intervals.html").read_text()).split())
    for r in rows:
        cells = (
            f"{r['work']} {int(r['images']):,} {r['classes']} {float(r['seconds']):.1f} {float(r['peak_mib']):.0f}"
        )
        assert cells in words, cells
    assert rows[0]["machine"] in words


def test_the_page_on_intervals_shows_the_kept_rows(site):
    """Against the file itself, read without the code that makes the tables."""
    source = (DOCS / "intervals.md").read_text()
    shown = [line for name in ("coverage", "coverage_difference", "coverage_groups", "coverage_rare")
             if f"<!-- kept {name} -->" in source for line in getattr(tables, name)().splitlines()[2:]]  # fmt: skip
    words = " ".join(re.sub(r"<[^>]+>", " ", (site / "intervals.html").read_text()).split())
    assert all(" ".join(line.replace("|", " ").split()) in words for line in shown)
    with (ROOT / "benchmarks" / "results" / "coverage.csv").open() as file:
        kept = [r for r in csv.DictReader(file) if float(r["share"]) >= 0.05]
    assert len(shown) > 50
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown]
    for r in kept:
        number, coverage = f"{int(r['number']):,}", f"{100 * float(r['coverage']):.1f}"
        start = [number] if r["setting"] == "rare" else [r["score"], number]
        assert any(row[: len(start)] == start and coverage in row for row in rows), r
    for setting, method in (("images", "shipped"), ("images", "percentile"), ("images", "Student"),
                            ("images", "BCa"), ("difference", "shipped"), ("groups, images drawn", "shipped"),
                            ("groups, groups drawn", "shipped")):  # fmt: skip
        found = [float(r["coverage"]) for r in kept if (r["setting"], r["method"]) == (setting, method)]
        assert f"{100 * min(found):.0f} to {100 * max(found):.0f} %" in words, (setting, method)
    assert f"at most {max(100 * float(r['standard_error']) for r in kept):.1f} %" in words


def test_the_page_on_intervals_says_what_the_code_does():
    source = " ".join((DOCS / "intervals.md").read_text().split())
    assert f"`--resamples` times ({resampling.RESAMPLES:,})" in source
    assert f"{score_intervals.RANKED:,} resamples, the worst case" in source
    assert f"Of more than {resampling.MOST_UNITS:,} images" in source
    assert f"More than {image_table.MOST_CLASSES:,} classes have none" in source
    assert f"at least {resampling.FEWEST} images, or groups" in source
    assert f"With fewer than {resample_tables.FEW} images" in source
    assert f"(at most {subgroups.MOST_VALUES})" in source
    assert f"{coverage.IMAGES:,} images are made up, with classes in 100, 90, 50, 20 and 5 %" in source
    assert (100 * population.SHARES).tolist() == [100, 90, 50, 20, 5]
    assert f"correlated by {coverage.ALIKE}" in source
    assert f"Of samples of {coverage.RARE_AMONG} images" in source


def test_every_number_of_the_readme_is_a_kept_one():
    """Those with a decimal point or a percent sign, outside of code and links."""
    alone, both, of_bce = tables.speed_range(), tables.both_range(), tables.both_binary_range()
    small = next(float(r["ratio"]) for r in results.read("small") if r["what"] == "lovasz")
    ten = next(r for r in results.read("accuracy") if r["regime"] == "ten foreground pixels")
    megabytes = 16 * 19 * (parse_bins("auto", None, 19, "softmax") + 1) / 1e6  # a table of 19 classes
    kept = {
        *alone.split(" to "),
        *both.split(" to "),
        *of_bce.split(" to "),
        f"{small:.1f}",
        f"{100 * float(ten['gradient_error']):.0f} %",
        f"{megabytes:.1f}",
    }
    for study in ("camvid", "camvid-pretrained", "nuclei", "scene", "nuclei-binary"):
        loss = "bce+sigmoid" if study == "nuclei-binary" else "ce+lovasz"
        gap = study_tables.difference(study_tables.read(study), loss)
        kept |= {signed(number).lstrip("+−") for number in (gap.mean, gap.low, gap.high)}
    for study in ("camvid", "camvid-pretrained"):
        kept.add(signed(study_tables.difference(study_tables.read(study), "ce+dice").mean).lstrip("+"))
    large = [
        float(row["ratio"])
        for row in results.read("cpu")
        if row["implementation"] == "lovasz"
        and row["case"] in ("VOC batch, channels last", "ADE20K, channels last")
    ]
    last = f"{min(large):.2f} to {max(large):.2f}"
    assert f"({last} for large batches whose classes lie last in memory" in " ".join(README.split())
    kept |= set(last.split(" to "))
    for study, loss in (
        ("nuclei", "weighted-ce"),
        ("camvid", "ce"),
        ("camvid", "ce+lovasz"),
        ("camvid-pretrained", "ce"),
        ("camvid-pretrained", "ce+lovasz"),
        ("scene", "ce+lovasz"),
    ):
        gap = study_tables.gain(study_tables.read(study), loss, study_tables.DECIDED[0])
        kept |= {signed(number).lstrip("+−") for number in (gap.mean, gap.low, gap.high)}
    modelled = model.ratios([case for case in gpu.CASES if case.form == "softmax"])
    kept |= {f"{min(modelled):.2f}", f"{max(modelled):.2f}"}
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", " ", README, flags=re.DOTALL)
    found = set(re.findall(r"(?<![\d.:])(\d+\.\d+|\d+ %)(?![\d.])", prose.replace("CC BY 3.0", "")))
    assert len(found) > 10
    assert found <= kept | {"95 %", "2.6", "3.10"}, found - kept  # intervals; versions of PyTorch and Python
    words = " ".join(README.split())
    assert f"takes {alone} times as long as cross-entropy" in words
    assert f"both losses in the same passes, takes {both}, `lovasz_binary_cross_entropy` {of_bce} times" in words
    sorting = [float(line.split("|")[5]) for line in tables.speed().splitlines()[2:] if line.split("|")[5].strip()]
    assert f"takes {min(sorting):.0f} to {max(sorting):.0f} times as long" in words


def _told(page):
    """What a translation must keep: code, links but those within the page, figures of prose, rows of tables."""
    prose = re.sub(r"```.*?```", " ", page, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#][^)]*)\)", prose)
    return {
        "blocks": re.findall(r"```.*?```", page, re.DOTALL),
        "code": sorted(re.findall(r"`[^`]+`", prose)),
        "links": sorted(link for link in links if not link.startswith("README")),
        "numbers": sorted(re.findall(r"[+−]?\d+\.\d+", re.sub(r"\]\([^)]*\)", " ", prose))),
        "form": re.findall(r"^(?:#+|\d\.|-|\||!) ?", prose, re.MULTILINE),
    }


def test_the_chinese_readme_says_what_the_english_one_says():
    chinese = (ROOT / "README.zh-CN.md").read_text()
    theirs = _told(chinese)
    for what, ours in _told(README).items():
        assert theirs[what] == ours, what
    assert "(README.zh-CN.md)" in README
    assert "(README.md)" in chinese
    for page in (README, chinese):
        headings = [
            re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall("^## (.*)", page, re.M)
        ]
        for anchor in re.findall(r"\]\(#([^)]*)\)", page):
            assert anchor in headings, anchor  # as GitHub names them
        for link in re.findall(r"\]\(([^)#]+)", page):
            assert urlsplit(link).scheme or (ROOT / link).exists(), link


def test_a_table_stands_once():
    """No measured table in the README: the docs make them from the rows."""
    for line in (*tables.speed().splitlines()[2:], *tables.accuracy().splitlines()[2:]):
        assert line not in README


def test_every_limit_has_a_page_and_the_readme_leads_there(site):
    limits = (DOCS / "limits.md").read_text()
    assert "(docs/limits.md)" in README
    assert limits.count("\n- ") > 20
    assert (site / "limits.html").read_text().count("<li><p>") >= limits.count("\n- ")
