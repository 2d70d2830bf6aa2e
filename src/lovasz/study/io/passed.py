"""Files that lie in a folder and are not read: how many, of which kind, and where."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lovasz.study.io.kinds import suffix_of
from lovasz.study.io.text import printable

# Files that lie in many folders and are nobody's image: counted, and not told one by one.
SYSTEM = ("thumbs.db", "ehthumbs.db", "desktop.ini")
DOCUMENTS = ("readme", "license", "licence", "copying", "notice", "citation", "changelog")
DOCUMENT_SUFFIXES = ("", ".md", ".txt", ".rst", ".html", ".pdf", ".cff")
# Kinds and folders that a sentence names; results.json has all.
NAMED = 4


@dataclass(frozen=True)
class PassedOver:
    """What lies in a folder and is not read.

    Attributes:
        files: Files, as paths below the folder.
        apart: Number of hidden files, system files and documents such as a README.
        hidden: Hidden folders, which are not entered.
        links: Folders that are listed elsewhere: links to such as are listed already or hold this one, and the
            other folder of a pair.
    """

    files: tuple[str, ...] = ()
    apart: int = 0
    hidden: tuple[str, ...] = ()
    links: tuple[str, ...] = ()

    def with_files(self, more: Iterable[str]) -> "PassedOver":
        """Return the same with more files."""
        return PassedOver((*self.files, *more), self.apart, self.hidden, self.links)

    def counts(self) -> "Counter[tuple[str, str]]":
        """Return the number of files by kind and folder, both `printable`; "" is the folder itself."""
        return Counter((printable(_kind(file)), printable(file.rpartition("/")[0])) for file in sorted(self.files))

    def record(self) -> dict[str, Any]:
        """Return the same as a JSON object: each kind in each folder with its number, and what else there is."""
        return {
            "files": [
                {"kind": kind, "folder": folder, "files": number}
                for (kind, folder), number in self.counts().items()
            ],
            "hidden_and_documents": self.apart,
            "hidden_folders": [printable(name) for name in self.hidden],
            "folders_listed_elsewhere": [printable(name) for name in self.links],
        }

    def sentence(self, where: object) -> str:
        """Return one sentence about a folder; empty if there is nothing that should be told."""
        kinds: dict[str, dict[str, int]] = {}
        for (kind, folder), number in self.counts().items():
            kinds.setdefault(kind, {})[folder] = number
        said = [f"{sum(found.values()):,} {kind}{_places(list(found))}" for kind, found in kinds.items()]
        if len(said) > NAMED:
            rest = list(kinds.values())[NAMED:]
            said = [*said[:NAMED], f"{sum(sum(found.values()) for found in rest):,} of {len(rest)} other kinds"]
        for what, names in (("hidden folder", self.hidden), ("folder listed elsewhere", self.links)):
            if names:
                many = what if len(names) == 1 else what.replace("folder", "folders")
                said.append(f"{len(names):,} {many} ({_listed(names)})")
        if said and self.apart:
            said.append(f"{self.apart:,} hidden or of documentation")
        return f"Passed over in {printable(where)}: {'; '.join(said)}" if said else ""


def is_apart(name: str) -> bool:
    """Return whether a file of this name is hidden, a system's, or a document such as a README."""
    lowered = name.lower()
    kind = suffix_of(lowered)
    known = lowered[: len(lowered) - len(kind)] in DOCUMENTS and kind in DOCUMENT_SUFFIXES
    return name[0] == "." or lowered in SYSTEM or known


def _kind(file: str) -> str:
    """Return the suffix of a file, with the part of its name that says what it is of a labelled image."""
    name = file.rpartition("/")[2]
    for part in ("_gtFine_", "_gtCoarse_"):
        if part in name:
            return part + name.rpartition(part)[2]
    return suffix_of(name) or "without a suffix"


def _places(folders: list[str]) -> str:
    inside = [folder for folder in folders if folder]
    if not inside:
        return ""
    return f" in {', '.join(inside)}" if len(folders) == 1 else f" in {len(folders):,} folders"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(printable, names[:NAMED])) + (", ..." if len(names) > NAMED else "")
