"""``python -m studies NAME [--data PATH]``: one study, or with ``tables`` what docs/evidence.md is to hold.

``python -m studies NAME --ceiling`` searches, with the runs that are there, what a decision could gain at most; of
``nuclei-measures`` what the threshold that validation has for Tversky gains.
Options of ``lovasz compare`` may follow; the results of such a study are its own and are not kept.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from studies import ceiling, figures, gradient, measures, operators, tables, thresholds

FOLDER = Path(__file__).parent


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__)
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    parser.add_argument("name", choices=[*names, "gradient", "tables"])
    parser.add_argument("--data", type=Path, help="folder of the images and masks; the scene is embedded")
    parser.add_argument("--ceiling", action="store_true", help="only what a decision could gain, from kept runs")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: lovasz-compare-NAME)")
    given, more = parser.parse_known_args()
    if given.name == "tables":
        page = FOLDER.parent / "docs" / "evidence.md"
        tables.write(page)
        figures.draw(page.parent)
    elif given.name == "gradient":
        gradient.write(FOLDER / "results" / "gradient.csv")
    elif given.ceiling:
        out = given.out or Path(f"lovasz-compare-{given.name}")
        operators.declare()
        kept = FOLDER / "results" / f"{given.name}.csv"
        (thresholds.write if given.name.endswith("-measures") else ceiling.write)(out, kept)
    else:
        out = given.out or Path(f"lovasz-compare-{given.name}")
        config = FOLDER / f"{given.name}.yaml"
        # Those of timm need torchvision, whose operators may have to be declared.
        module = "studies.command" if "\nnetwork: smp:" in config.read_text(encoding="utf-8") else "lovasz"
        command = [sys.executable, "-m", module, "compare", "--config", str(config)]
        command += ["--out", str(out), *(["--data", str(given.data)] if given.data else []), *more]
        done = subprocess.run(command, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        if more:
            print(f"Not kept in studies/results: {' '.join(more)} makes it another study.")
        else:
            kept = FOLDER / "results" / f"{given.name}.csv"
            shutil.copyfile(out / "results.csv", kept)
            if given.name.endswith("-measures"):
                measures.write(out, kept)


if __name__ == "__main__":
    main()
