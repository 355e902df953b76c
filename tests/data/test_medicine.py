import json
from collections import Counter
from pathlib import Path

import pytest

from trivium.data.medicine import DEV, OWN, TEST, Subject, made, read

SHARED = Path(__file__).parents[3] / "shared" / "data" / "mmlu_medical"
ROW = {"question": "Q? ", "subject": "x", "choices": ["a", "b", "c", "d"], "answer": 2}


def test_our_own_questions():
    found = made()
    assert [one.name for one in found] == list(OWN)
    for one in found:
        assert (len(one.shown), len(one.asked), len(one.held_back)) == (DEV, TEST, 3)
        every = (*one.shown, *one.asked, *one.held_back)
        assert len({each.question for each in every}) == 12
        for each, line in zip(every, OWN[one.name][1].splitlines(), strict=True):
            question, right, *wrong = line.split("|")
            assert (each.question, each.options[each.answer], each.group) == (question, right, one.name)
            assert sorted(each.options) == sorted({right, *wrong})
            assert len(each.options) == 4
        assert set(Counter(each.answer for each in every).values()) == {3}, "every place is right as often"


def write(folder, **files):
    for name, rows in files.items():
        text = (
            rows
            if isinstance(rows, str)
            else "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
        )
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_a_folder(tmp_path):
    write(tmp_path, b_x_test__jsonl=[ROW, "", ROW | {"answer": 0}], b_x_dev__jsonl=[ROW], a_test__jsonl=[ROW])
    one, two = read(tmp_path)
    assert (one.name, one.description, one.shown, len(one.asked)) == ("a", "a", (), 1)
    assert (two.name, two.description, len(two.shown), len(two.asked)) == ("b_x", "b x", 1, 2)
    assert (two.asked[1].id, two.asked[1].question, two.asked[1].answer, two.asked[0].answer) == (
        "b_x_test-0003",
        "Q?",
        0,
        2,
    )
    write(tmp_path, labels__json='{"a": "the first"}')
    assert [each.description for each in read(tmp_path)] == ["the first", "b x"]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a_test__jsonl": [ROW, {"question": "x"}]}, "a_test.jsonl, line 2 is no question with choices: KeyError"),
        ({"a_test__jsonl": [ROW | {"answer": 4}]}, "line 1 is no question with choices: .*option 4 of 4"),
        ({"a_test__jsonl": [ROW | {"answer": "C"}]}, "line 1 is no question with choices: .*the answer is 'C'"),
        ({"a_test__jsonl": ["{half"]}, "line 1 is no question"),
        ({"a_test__jsonl": ""}, "a_test.jsonl holds no question"),
        ({"a_test__jsonl": [ROW], "labels__json": '{"a": " "}'}, "subject 'a' has an empty description"),
        (
            {"a_test__jsonl": [ROW], "labels__json": '{"b": "x"}'},
            "describes 'b', of which there is no test file; there are a",
        ),
        ({"a_test__jsonl": [ROW], "labels__json": "[1]"}, "is no JSON object of subjects"),
    ],
)
def test_bad_files(tmp_path, files, told):
    with pytest.raises(ValueError, match=told):
        read(write(tmp_path, **files))


def test_no_files_and_no_description(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no <subject>_test\.jsonl"):
        read(tmp_path)
    with pytest.raises(ValueError, match="subject 'one' has an empty description"):
        Subject("one", "  ", (), ())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_mmlu():
    found = read(SHARED)
    assert [(one.name, len(one.shown), len(one.asked)) for one in found] == [
        ("anatomy", 5, 135),
        ("clinical_knowledge", 5, 265),
        ("college_biology", 5, 144),
        ("college_medicine", 5, 173),
        ("medical_genetics", 5, 100),
        ("nutrition", 5, 306),
    ]
