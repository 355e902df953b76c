import json
from pathlib import Path

import pytest

from trivium.data import scenes
from trivium.data.retrieval import Query, made, read

SCIQ = Path(__file__).parents[3] / "shared" / "data" / "sciq"


@pytest.mark.parametrize(("split", "count"), [("test", 42), ("validation", 18)])
def test_one_scene_of_ten_answers(split, count):
    found = made(split)
    assert len(found) == count
    places = [one.grades.index(1) for one in found]
    assert len(set(places)) > 5  # no place gives it away
    for one in found:
        assert len(one.passages) == 10
        assert sum(one.grades) == 1
        right = one.passages[one.grades.index(1)]
        named = [word for word in (*scenes.PEOPLE, *scenes.THINGS) if word in right]
        asked = [word for word in named if word in one.text]
        assert asked
        hard = 0
        for text, grade in zip(one.passages, one.grades, strict=True):
            if not grade:
                assert not any(word in text for word in asked)
                hard += any(word in text for word in named)
        assert hard <= 4


def test_files(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"id": 7, "query": "who", "passages": [{"text": "he", "relevance": 1}, {"text": "it", "relevance": 0}]}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    assert read(path, "passages") == (Query("7", "who", ("he", "it"), (1, 0)),)
    for wrong, said in (
        ({"query": "x"}, "line 2 is no query.*passages"),
        ({**rows[0], "query": " "}, "is empty"),
        ({**rows[0], "passages": rows[0]["passages"][:1]}, "some passages must be relevant and some not"),
        ({**rows[0], "passages": rows[0]["passages"][1:]}, "some passages must be relevant and some not"),
        ({**rows[0], "passages": [*rows[0]["passages"], rows[0]["passages"][0]]}, "has a passage twice"),
        ({**rows[0], "passages": [{"text": "a", "relevance": 0.5}, {"text": "b", "relevance": 0}]}, "whole number"),
        ([1], "line 2"),
    ):
        path.write_text("\n".join(map(json.dumps, [rows[0], wrong])))
        with pytest.raises(ValueError, match=said):
            read(path, "passages")
    path.write_text("{\n")
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        read(path, "passages")
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no query"):
        read(path, "passages")


def test_support_texts_of_questions(tmp_path):
    rows = [{"question": f"q{n}?", "support": f"s{n % 15}" if n != 3 else ""} for n in range(20)]
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read(path, "sciq")
    assert len(found) == 19  # one has no text that answers it
    for one in found:
        n = int(one.text[1:-1])
        assert one.passages[one.grades.index(1)] == f"s{n % 15}"
        assert len(one.passages) == 10
    if SCIQ.is_dir():
        real = read(next(SCIQ.glob("*.json*")), "sciq")
        assert len(real) > 500
