"""Keyphrases by writers whose lists are known."""

import json

import pytest

from tests.compare.fakes import system
from tests.evaluation.oracles import Writer
from trivium.data.keyphrases import Document, counted, made
from trivium.evaluation.keyphrases import Keyphrases, scored

DOCUMENT = Document("d", "Wild bees visit field margins. Seed yields rose.", ("wild bee", "seed yield", "pollination"))


def test_a_list_by_hand():
    """Present: right, wrong, and right again, of two gold ones. Absent: wrong and right, of one."""
    seen = scored(DOCUMENT, ["Wild bees", "margins", "honey", "seed yields", "wild bee", "!", "pollinations"])
    assert (seen["phrases"], seen["duplicates"], seen["invalid"], seen["no_gold"]) == (5, 1, 1, 0)
    assert seen["present_f1_5"] == pytest.approx(2 * 2 / (5 + 2))
    assert seen["present_f1_5_older"] == seen["present_f1_m"] == seen["present_f1_g"] == pytest.approx(2 * 2 / (3 + 2))
    assert seen["present_f1_10"] == pytest.approx(2 * 2 / (10 + 2))
    assert seen["present_f1_o"] == pytest.approx(1 / 2)
    assert (seen["present_precision"], seen["present_recall"]) == (2 / 3, 1.0)
    assert seen["present_map"] == pytest.approx((1 + 2 / 3) / 2)
    assert seen["absent_f1_o"] == seen["absent_f1_o_older"] == 0.0
    assert seen["absent_f1_m"] == pytest.approx(2 / 3)
    assert seen["absent_map"] == pytest.approx(1 / 2)
    assert 0 < seen["present_alpha_ndcg"] < seen["present_ndcg"] < 1
    assert seen["present_alpha_ndcg"] != scored(DOCUMENT, ["wild bee", "margin", "seed yield"])["present_alpha_ndcg"]


def test_perfect_lists_have_the_scores_that_the_counts_say():
    for document, here in counted("test"):
        seen, absent = scored(document, document.phrases), len(document.phrases) - here
        for sort, gold in (("present", here), ("absent", absent)):
            for name in ("f1_m", "f1_o", "f1_g", "f1_5_older", "precision", "recall", "map", "ndcg", "alpha_ndcg"):
                assert seen[f"{sort}_{name}"] == pytest.approx(1.0 if name != "f1_5_older" else min(1, 10 / (5 + gold)))
            assert seen[f"{sort}_f1_5"] == pytest.approx(2 * min(gold, 5) / (5 + gold))


def test_documents_without_gold_phrases_of_a_sort():
    half = Document("d", DOCUMENT.text, ("wild bees",))
    seen = scored(half, ["wild bees", "honey"])
    assert seen["present_f1_m"] == seen["present_f1_m_all"] == 1.0
    assert not [name for name in seen if name.startswith("absent") and not name.endswith("_all")]
    assert seen["absent_f1_5_all"] == seen["absent_f1_m_all"] == 0.0
    none = scored(Document("d", DOCUMENT.text, ("?",)), ["wild bees"])
    assert none == {"phrases": 1.0, "duplicates": 0.0, "invalid": 0.0, "no_gold": 1.0}
    assert set(scored(DOCUMENT, [])) == {measure.name for measure in Keyphrases.measures}
    assert scored(DOCUMENT, [])["present_f1_m"] == 0.0


def test_a_wrong_phrase_never_helps_and_order_matters_for_small_k_only():
    for document in made("test"):
        said = [*document.phrases, "margins of error"]
        more, turned = scored(document, [*said, "nothing"]), scored(document, said[::-1])
        assert more["absent_f1_m"] <= scored(document, said)["absent_f1_m"] + 1e-12
        assert turned["present_f1_m"] == pytest.approx(scored(document, said)["present_f1_m"])
        assert turned["absent_map"] < scored(document, said)["absent_map"]


def test_a_model_s_list_is_read_and_scored():
    task = Keyphrases(items=4, limit=20)
    gold = {one.text: one.phrases for one in task.documents("test")}
    writer = Writer(
        lambda prompt: " " + ", ".join(gold[prompt.context[6:].split("\nKeyphrases:")[0]]) + ", margin, ..."
    )
    for example, one in zip(task.examples("test"), task.documents("test"), strict=True):
        seen = task.score(writer, example)
        assert seen.values == scored(one, [*one.phrases, "margin"])
        assert seen.shown["text"].startswith(", ".join(one.phrases))
    assert len(writer.asked) == 4
    assert {(prompt.until, prompt.limit) for prompt in writer.asked} == {(("\n\n", "Text:"), 20)}
    assert writer.asked[0].context == f"Text: {task.documents('test')[0].text}\nKeyphrases:"


def test_what_is_shown():
    task = Keyphrases(shots=2)
    text = task.prompt(task.documents("test")[0], "test")
    shown = [
        one for one in task.documents("validation") if f"Text: {one.text}\nKeyphrases: {', '.join(one.phrases)}" in text
    ]
    assert len(shown) == 2
    assert text.endswith(f"\n\nText: {task.documents('test')[0].text}\nKeyphrases:")
    with pytest.raises(ValueError, match="there are 4 documents to show, so not 9"):
        Keyphrases(shots=9).prompt(task.documents("test")[0], "test")


def test_baselines_need_no_model():
    means = {}
    for by in ("tfidf", "random"):
        task = Keyphrases(by=by)
        model = system()
        seen = [task.score(model, one).values for one in task.examples("test")]
        means[by] = sum(one["present_f1_m"] for one in seen) / len(seen)
        assert {one["phrases"] for one in seen} == {10.0}
        assert max(one["absent_f1_m"] for one in seen) == 0.0
    assert means["tfidf"] > means["random"] > 0
    text = task.score(model, task.examples("test")[0]).shown
    assert text["absent"] == {}
    fewer = Keyphrases(by="tfidf", most=3)
    assert fewer.score(system(), fewer.examples("test")[0]).values["phrases"] == 3.0
    plain = Keyphrases(by="tfidf", alpha=0.0)
    assert plain.score(system(), plain.examples("test")[0]).values["present_alpha_ndcg"] < 1.0


def test_splits_of_a_file_and_bad_settings(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(
        "\n".join(json.dumps({"id": f"d{n}", "abstract": f"Bees {n}.", "keywords": "bees"}) for n in range(9))
    )
    task = Keyphrases(str(path), items=4)
    why = task.score(Writer(lambda prompt: "bees"), task.examples("test")[0]).shown["absent"]
    assert why["absent_map"] == "there is no gold phrase of that sort"
    assert not [name for name in why if name.startswith("present")]
    assert [one.id for one in task.examples("test")] == ["d0", "d1", "d2", "d3"]
    assert [one.id for one in task.examples("validation")] == ["d4", "d5"]
    assert len(Keyphrases(str(path)).examples("test")) == 9
    for settings, said in (
        ({"by": "hand"}, "by must be one of model, tfidf, random; got 'hand'"),
        ({"items": 0}, "items must be at least 1"),
        ({"shots": -1}, "shots must be at least 0"),
        ({"most": 0}, "most must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"alpha": 2.0}, "alpha is the worth"),
    ):
        with pytest.raises(ValueError, match=said):
            Keyphrases(**settings)
    with pytest.raises(ValueError, match="got 'train'"):
        task.examples("train")
