"""Groups and properties of images: by a table, or by a pattern of the name."""

import pytest

from lovasz.study.io.groups import groups, properties
from lovasz.study.io.text import csv_text

NAMES = ["a/p1_0", "a/p1_1", "b/p2_0"]


def write(folder, text):
    file = folder / "groups.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_pattern_gives_its_first_group_or_all_that_it_matches():
    assert groups(r"(p\d)_", NAMES) == ["p1", "p1", "p2"]
    assert groups(r"^\w", NAMES) == ["a", "a", "b"]


def test_a_name_that_a_pattern_does_not_match_is_named():
    with pytest.raises(ValueError, match=r"--group p1 finds no group in the name b/p2_0"):
        groups("p1", NAMES)


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"--group must be a CSV file or a regular expression, got \(p"):
        groups("(p", NAMES)


def test_names_are_found_with_a_suffix_and_without_and_others_are_passed_over(tmp_path):
    file = write(tmp_path, "image,group\na/p1_0.png,x\na/p1_1,x\nb/p2_0.nii.gz,y\nc/p3_0,z\n")
    assert groups(str(file), NAMES) == ["x", "x", "y"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,group\na/p1_0,x\na/p1_1,x\n", "has no line of the image b/p2_0"),
        ("image,group\na/p1_0,x\na/p1_1,\nb/p2_0,y\n", "line 3: has no group of the image a/p1_1"),
        ("image,group\na/p1_0,x\na/p1_0.png,y\n", "line 3: the image a/p1_0 is also in line 2"),
        ("image,patient\na/p1_0,x\n", "must name the columns image, group"),
    ],
)
def test_what_a_table_lacks_is_named(tmp_path, text, says):
    with pytest.raises(ValueError, match=says):
        groups(str(write(tmp_path, text)), NAMES)


def test_a_table_that_is_not_there_is_no_pattern(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv"):
        groups(str(tmp_path / "none.csv"), NAMES)


def test_properties_have_any_columns(tmp_path):
    file = write(tmp_path, "image,site,time\na/p1_0,x,day\na/p1_1,x,night\nb/p2_0,=y,day\n")
    assert properties(file, NAMES) == {"site": ["x", "x", "=y"], "time": ["day", "night", "day"]}


def test_names_of_another_normal_form_are_the_same(tmp_path):
    file = write(tmp_path, "image,group\ncafe\u0301,x\n")
    assert groups(str(file), ["caf\u00e9"]) == ["x"]
    file = write(tmp_path, "image,group\ncaf\u00e9,x\n")
    assert groups(str(file), ["cafe\u0301"]) == ["x"]


def test_a_table_without_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no column beside image"):
        properties(write(tmp_path, "image\na/p1_0\na/p1_1\nb/p2_0\n"), NAMES)


def test_names_with_dots_are_told_apart(tmp_path):
    """As those of patient and slice, and of DICOM; a name may be the beginning of another, or another image's."""
    file = write(tmp_path, "image,group\n1.2.840.1,a\n1.2.840.2,b\n1.2.840,c\np1.a,d\np1,e\n")
    assert groups(str(file), ["1.2.840.2", "1.2.840.1"]) == ["b", "a"]
    assert groups(str(file), ["1.2.840", "1.2.840.1"]) == ["c", "a"]
    assert groups(str(file), ["p1", "p1.a"]) == ["e", "d"]
    file = write(tmp_path, "image,group\n1.2.840.1.png,a\n1.2.840.2.nii.gz,b\n")
    assert groups(str(file), ["1.2.840.1", "1.2.840.2"]) == ["a", "b"]
    with pytest.raises(ValueError, match=r"has no line of the image 1\.2\.840"):
        groups(str(file), ["1.2.840"])


def test_names_are_found_as_images_csv_writes_them_and_as_they_are(tmp_path):
    names = ["-1_a", "=b", "a\\x1b", "'c"]
    for write_name in (csv_text, str):
        lines = [f"{write_name(name)},{index}\n" for index, name in enumerate(names)]
        assert groups(str(write(tmp_path, "image,group\n" + "".join(lines))), names) == ["0", "1", "2", "3"]
    file = write(tmp_path, "image,group\n'-1_a.png,x\n-1_a,y\n")
    with pytest.raises(ValueError, match="line 3: the image -1_a is also in line 2"):
        groups(str(file), names)
