import json

import pytest

from trivium.data.text_tasks import acceptability, tasks


def written(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


ROWS = [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]


def three(folder, rows=ROWS, prefix=""):
    for split in ("train", "validation", "test"):
        written(folder, f"{prefix}{split}.jsonl", rows)


def test_lines_of_one_text_or_two_by_the_names_that_glue_gives_them(tmp_path):
    three(tmp_path / "a")
    ((name, splits),) = tasks(str(tmp_path / "a"), "lines").items()
    assert name == "a"
    found = [(dict(one.fields), one.label) for one in splits["test"]]
    assert found == [({"text": "good"}, "1"), ({"text": "bad"}, "0")]
    rows = [{"hypothesis": h, "premise": p, "label": label, "idx": 4} for h, p, label in ("hpn", "iqy")]
    three(tmp_path / "b", rows)
    (splits,) = tasks(str(tmp_path / "b"), "lines").values()
    assert list(splits["train"][0].fields.items()) == [("premise", "p"), ("hypothesis", "h")]  # in the task's order
    (splits,) = tasks(str(tmp_path / "b"), "lines", ("hypothesis",)).values()
    assert dict(splits["train"][1].fields) == {"hypothesis": "i"}


def test_several_tasks_in_folders_or_by_the_beginning_of_their_files(tmp_path):
    three(tmp_path, prefix="cola.")
    for split in ("train", "dev", "test"):
        written(tmp_path / "rte", f"{split}.jsonl", ROWS)
    assert list(tasks(str(tmp_path), "lines")) == ["cola", "rte"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "x"}], "line 1 is no item with texts and a label: it lacks 'label'"),
        ([{"text": "x", "label": -1}], "it has no label"),
        ([{"text": "x", "label": None}], "it has no label"),
        ([{"text": "x", "label": 2.5}], "2.5 is a number on a scale"),
        ([{"text": 3, "label": 1}], "text is 3, which is no text"),
        ([{"text": " ", "label": 1}], "'text' of 'test-00001' is empty"),
        ([{"words": "x", "label": 1}], "it has words, label; say which of them are the texts"),
        ([ROWS[0], "x"], "line 2"),
        ([{"text": "x", "label": "maybe"}], "'maybe', which no training item has; they have '0', '1'"),
        ([], "holds no item"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, rows, said):
    three(tmp_path)
    written(tmp_path, "test.jsonl", rows)
    with pytest.raises(ValueError, match=said):
        tasks(str(tmp_path), "lines")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        tasks(str(tmp_path / "none"), "lines")
    with pytest.raises(FileNotFoundError, match="holds no task"):
        tasks(str(tmp_path), "lines")
    written(tmp_path, "train.jsonl", ROWS)
    written(tmp_path, "dev.jsonl", ROWS)
    with pytest.raises(FileNotFoundError, match=r"has no test\.jsonl"):
        tasks(str(tmp_path), "lines")
    three(tmp_path, ROWS[:1])
    with pytest.raises(ValueError, match="all training items have the label '1'"):
        tasks(str(tmp_path), "lines")
    (tmp_path / "test.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"test\.jsonl, line 1"):
        tasks(str(tmp_path), "lines")
    with pytest.raises(ValueError, match="are read from files of yours"):
        tasks("", "acceptability")
    with pytest.raises(ValueError, match="form must be one of"):
        tasks("", "grammar")
    with pytest.raises(ValueError, match="fields are the names"):
        tasks("", "intents", ("text",))


def test_tasks_of_our_own():
    (intents,) = tasks("", "intents").values()
    assert [len(intents[split]) for split in ("train", "validation", "test")] == [40, 60, 60]
    (answers,) = tasks("", "answers").values()
    assert list(answers["train"][0].fields) == ["question", "answer"]
    assert {one.label for one in answers["test"]} == {"yes", "no"}


def treebank(path, sentences):
    text = ""
    for number, sentence in enumerate(sentences):
        text += f"# sent_id = {number}\n# text = {sentence}\n" + "1\tx\tx\tX\t_\t_\t0\troot\t_\t_\n\n"
    path.write_text(text, encoding="utf-8")


def test_sentences_with_two_words_exchanged(tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz"
    whole = [f"The {a}{b} {b}{a}x ran home fast ." for a in letters[:24] for b in letters[:8]]
    treebank(tmp_path / "t.conllu", [*whole, "Too short .", "Run , x , y , z .", "No no no no no no ."])
    found = acceptability(tmp_path / "t.conllu")
    every = [one for some in found.values() for one in some]
    assert len({one.id for one in every}) == len(every) == len(whole)
    assert [len(found[split]) for split in ("train", "validation", "test")] == [96, 24, 72]
    for one in every:
        if one.label == "acceptable":
            assert one.fields["text"] in whole
        else:
            words = one.fields["text"].split()
            assert words[0] == "The"
            undone = []
            for at in range(1, len(words) - 1):
                turned = [*words]
                turned[at : at + 2] = turned[at + 1], turned[at]
                undone.append(" ".join(turned))
            assert one.fields["text"] not in whole
            assert sum(text in whole for text in undone) >= 1
    for some in found.values():
        assert sum(one.label == "acceptable" for one in some) == len(some) / 2
    with pytest.raises(ValueError, match="and 16 are needed"):
        treebank(tmp_path / "u.conllu", whole[:9])
        acceptability(tmp_path / "u.conllu")
