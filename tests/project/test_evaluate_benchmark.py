"""The benchmark of `lovasz evaluate` compares ways to the same score, and the page shows its kept rows."""

import math
from pathlib import Path

from benchmarks import evaluate, results

ROOT = Path(__file__).parents[2]


def test_all_ways_find_the_same_score(tmp_path: Path) -> None:
    pairs = evaluate.make(tmp_path, 6)
    ways = evaluate.ways(pairs, tmp_path, 1)
    found = {what: way.run() for what, way in ways.items()}
    assert {what for what, score in found.items() if math.isnan(score)} == {way.decoding for way in ways.values()}
    scores = [score for score in found.values() if not math.isnan(score)]
    assert len(scores) == 10
    assert 0.5 < scores[0] < 1
    assert all(math.isclose(score, scores[0], rel_tol=1e-5) for score in scores)
    # As real masks: blobs, with void among them.
    assert 3_000 < max(path.stat().st_size for path in tmp_path.glob("targets/*.png")) < 15_000


def test_the_page_shows_the_kept_rows() -> None:
    page = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    assert "\n".join(evaluate.table()) in page
    assert results.read("evaluate")[0]["machine"] in page
