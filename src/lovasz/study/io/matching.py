"""Which files of two folders belong together, by their names."""

import itertools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lovasz.study.io.names import Listing, name_of, shown_name

# What a name may have more than its partner: after it, or before it where the text ends in "_".
AFFIXES = (
    "_leftImg8bit",
    "_gtFine_labelTrainIds",
    "_gtFine_labelIds",
    "_gtCoarse_labelTrainIds",
    "_gtCoarse_labelIds",
    "_labelTrainIds",
    "_labelIds",
    "_0000",
    "_image",
    "_img",
    "_mask",
    "_seg",
    "_label",
    "_labels",
    "_gt",
    "_pred",
    "image_",
    "img_",
    "mask_",
    "seg_",
    "label_",
    "labels_",
    "gt_",
    "pred_",
)
# The masks of classes that Cityscapes has of an image, and what lies beside them.
CITYSCAPES = re.compile(
    r"(.*_gt(?:Fine|Coarse)_)(labelTrainIds|labelIds|color|instanceIds|instanceTrainIds|polygons)"
)
LABELS = ("labelTrainIds", "labelIds")
# nnU-Net's number of a channel.
CHANNEL = re.compile(r"(.*)_(\d{4})")


class MatchingError(ValueError):
    """Two files could be meant by one name."""


@dataclass(frozen=True)
class Rule:
    """What is left out of the names of two folders before they are compared.

    Attributes:
        first: An affix of the names in the first folder; empty for none.
        second: One of those in the second.
        flat: Whether subfolders are left out.
    """

    first: str = ""
    second: str = ""
    flat: bool = False

    def __str__(self) -> str:
        """Say what is left out, for a sentence; empty for nothing."""
        affixes = [affix for affix in dict.fromkeys((self.first, self.second)) if affix]
        return " and ".join([*affixes, *(["their folders"] if self.flat else [])])


@dataclass(frozen=True)
class Matched:
    """The files of two folders that belong together, and the others.

    Attributes:
        pairs: Name as it is shown, file in the first folder and file in the second, in the order of names.
        alone: Names of the first folder without a partner, and of the second.
        unread: As `pairs`, where one file or both are of a kind that is not read.
        rule: A sentence about what was left out of the names; empty if they are the same.
        folders: The two folders as listed, without files that are no masks of classes.
    """

    pairs: list[tuple[str, str, str]]
    alone: tuple[list[str], list[str]]
    unread: list[tuple[str, str, str]]
    rule: str
    folders: tuple[Listing, Listing]

    @property
    def passed_over(self) -> list[str]:
        """One sentence for each folder in which files are passed over."""
        said = (folder.passed.sentence(folder.folder) for folder in self.folders)
        return [sentence for sentence in said if sentence]


def match(first: Listing, second: Listing) -> Matched:
    """Pair the files of two folders by name.

    If any name is in both folders, equal names are partners. Otherwise one of `AFFIXES` is left out
    of the names of a folder, and names without it have no partner; if that pairs nothing, and one
    folder has subfolders where the other has none, these are left out too. Of several rules
    the one that pairs most is taken.

    Args:
        first: Images or predictions.
        second: Masks or targets.

    Raises:
        MatchingError: If a file could have two partners, or two files would share a name.
    """
    first, second = _without_companions(first, second), _without_companions(second, first)
    every = _with_passed(first), _with_passed(second)
    readable = first.files and second.files
    rule = _rule(first.files, second.files) if readable else _rule(*every)
    shorts = _short(every[0], rule.first, rule.flat), _short(every[1], rule.second, rule.flat)
    pairs: list[tuple[str, str, str]] = []
    unread: list[tuple[str, str, str]] = []
    for short in sorted(shorts[0].keys() & shorts[1].keys()):
        one, other = shorts[0][short], shorts[1][short]
        file = every[1][other]
        shown = short if file.isascii() else _shortened(shown_name(file), rule.second, rule.flat) or short
        both_read = one in first.files and other in second.files
        (pairs if both_read else unread).append((shown, every[0][one], file))
    alone = []
    for names, found, partners in ((first.files, *shorts), (second.files, *shorts[::-1])):
        partnered = {name for short, name in found.items() if short in partners}
        alone.append([name for name in names if name not in partnered])
    said = f"Paired by the names without {rule}: {len(pairs):,} pair{'' if len(pairs) == 1 else 's'}."
    return Matched(pairs, (alone[0], alone[1]), unread, said if str(rule) else "", (first, second))


def _with_passed(folder: Listing) -> dict[str, str]:
    """Return all files by name, first those that can be read; of a name that can be read and cannot, the former."""
    passed = {name_of(file): file for file in reversed(folder.passed.files)}
    return {**folder.files, **passed, **folder.files}


def _shortened(name: str, affix: str, flat: bool) -> str | None:
    """Return a name without an affix, None if it does not have it."""
    inside, slash, last = name.rpartition("/")
    short = last.removeprefix(affix) if affix.endswith("_") else last.removesuffix(affix)
    if affix and (short == last or not short):
        return None
    return short if flat else inside + slash + short


def _short(names: Iterable[str], affix: str, flat: bool) -> dict[str, str]:
    """Return the names by what is left of them."""
    if not affix and not flat:
        return {name: name for name in names}
    left: dict[str, str] = {}
    for name in names:
        short = _shortened(name, affix, flat)
        if short is not None:
            left.setdefault(short, name)
    return left


def _affixes(names: Iterable[str]) -> list[str]:
    """Return no affix, and those that a name may have by its first or last word."""
    lasts = [name.rpartition("/")[2] for name in names]
    words = {last.partition("_")[0] + "_" for last in lasts} | {"_" + last.rpartition("_")[2] for last in lasts}
    return ["", *(affix for affix in AFFIXES if affix in words or "_" + affix.rpartition("_")[2] in words)]


def _rule(first: Collection[str], second: Collection[str]) -> Rule:
    """Return the rule that pairs most names, that of equal names if it pairs any or nothing does."""
    if any(name in second for name in first):
        return Rule()
    one_is_flat = any("/" in name for name in first) != any("/" in name for name in second)
    for flat in (False, True) if one_is_flat else (False,):
        found: dict[Rule, dict[str, str]] = {}
        kept = [{affix: _short(names, affix, flat) for affix in _affixes(names)} for names in (first, second)]
        for (one, firsts), (other, seconds) in itertools.product(kept[0].items(), kept[1].items()):
            common = firsts.keys() & seconds.keys()
            if common:
                found[Rule(one, other, flat)] = {firsts[short]: seconds[short] for short in sorted(common)}
        if found:
            rule = max(found, key=lambda rule: (len(found[rule]), -bool(rule.first) - bool(rule.second)))
            _check_unambiguous(rule, found, first, second)
            return rule
    return Rule()


def _check_unambiguous(
    rule: Rule, found: Mapping[Rule, Mapping[str, str]], first: Collection[str], second: Collection[str]
) -> None:
    partners = found[rule]
    owners = {other: one for one, other in partners.items()}
    for pairs in found.values():
        for one, other in pairs.items():
            if partners.get(one, other) != other:
                raise _ambiguous(one, partners[one], other)
            if owners.get(other, one) != one:
                raise _ambiguous(other, owners[other], one)
        if len(pairs) == len(partners) and pairs.keys().isdisjoint(partners):
            (one, other), (third, fourth) = next(iter(partners.items())), next(iter(pairs.items()))
            raise MatchingError(
                f"{other} belongs to {one} by one affix and {fourth} to {third} by another, and neither pairs more "
                "files; give all names of a folder one affix, or say what belongs together in a list (CSV)"
            )
    for names, affix, paired in ((first, rule.first, partners), (second, rule.second, owners)):
        shorts = {_shortened(name, affix, rule.flat): name for name in paired}
        for name in names:
            short = _shortened(name, affix, rule.flat)
            channel = CHANNEL.fullmatch(name) if affix == "_0000" else None
            short = _shortened(f"{channel[1]}_0000", affix, rule.flat) if channel else short
            if short is not None and shorts.get(short, name) != name:
                raise _ambiguous(paired[shorts[short]], shorts[short], name)


def _ambiguous(partner: str, one: str, other: str) -> MatchingError:
    """Say that two names could be meant."""
    return MatchingError(
        f"{one} and {other} could both belong to {partner} by the names without an affix; keep one kind of files "
        "in a folder, or say what belongs together in a list (CSV)"
    )


def _without_companions(folder: Listing, partner: Listing) -> Listing:
    """Pass over what Cityscapes has beside a mask of classes, unless the other folder has that very name."""
    beside = set()
    for name in folder.files:
        found = CITYSCAPES.fullmatch(name) if "_gt" in name and name not in partner.files else None
        if found:
            masks = [found[1] + label for label in LABELS if label != found[2]]
            # Of two masks of classes the one that is not meant is the one without a partner.
            needed = (folder.files, partner.files) if found[2] in LABELS else (folder.files,)
            if any(all(mask in files for files in needed) for mask in masks):
                beside.add(name)
    return folder.only(lambda name, _: name not in beside) if beside else folder
