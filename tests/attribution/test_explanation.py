"""Explanations: asked as text, drawn, merged, judged and saved."""

from dataclasses import replace
from functools import cache
from xml.etree import ElementTree

import pytest
import torch

from tests.attribution.models import Smooth
from tests.attribution.test_rendering import HOSTILE, PROMPT, TOKENIZER, made, read
from tests.families import wrapped
from trivium import explain
from trivium.attribution._explanation import Explanation, ask
from trivium.attribution._page import to_html
from trivium.attribution.attention import Attention
from trivium.attribution.gradient_shap import GradientShap
from trivium.attribution.gradient_times_input import GradientTimesInput
from trivium.attribution.integrated_gradients import IntegratedGradients
from trivium.attribution.occlusion import Occlusion
from trivium.attribution.reagent import ReAGent
from trivium.core.nouns import Target
from trivium.models.faithfulness import NAMES
from trivium.models.system import System

WORDS = ["<|end|>", "the", " cat", " sat", " on", " a", " mat", "\n", " New", " York", " is", " big"]


class Words:
    """A tokenizer of words; 0 is special and may stand before every text."""

    vocab_size = len(WORDS)
    bos = eos = 0
    pad = None

    def __init__(self, opening=()):
        self.opening = opening

    def encode(self, text):
        found = []
        while text:
            id = next(id for id, word in enumerate(WORDS) if text.startswith(word))
            found.append(id)
            text = text[len(WORDS[id]) :]
        return found

    def decode(self, ids):
        return "".join("" if id == 0 else WORDS[id] for id in ids)

    spelt = staticmethod(lambda ids: "".join(WORDS[id] for id in ids))

    def bytes_of(self, id):
        return b"" if id == 0 else WORDS[id].encode()


class Chatty(System):
    """A system with a chat template of words."""

    def chat(self, text):
        return f"<|end|>the{text} on\n"


def system(opening=(), cls=System):
    return cls(Smooth(), Words(opening), "words")


@cache
def llama():
    """A real stack in double precision, with states that can be cut."""
    return System(wrapped("llama"), Words(), "llama")


TEXT, ANSWER = "the cat sat on", " New York"


def test_an_answer_is_all_of_its_tokens():
    got = explain(system(), TEXT, target=ANSWER)
    assert got.target == Target((8, 9))
    assert got.ids.tolist() == [1, 2, 3, 4]
    assert got.spelling.answer == ("·New", "·York")
    model = Smooth().eval()
    with torch.no_grad():
        logp = model(torch.tensor([[1, 2, 3, 4, 8]])).logits[0].log_softmax(-1)
    assert got.value == pytest.approx((logp[3, 8] + logp[4, 9]).item())
    assert "log-probability of “·New·York”" in str(got)


def test_what_the_model_predicts_is_explained_where_nothing_is_asked():
    built = system()
    best = int(built.model.eval()(torch.tensor([[1, 2, 3, 4]])).logits[0, -1].argmax())
    assert explain(built, TEXT).target == Target(best)


def test_why_this_rather_than_that():
    got = explain(system(), TEXT, target=ANSWER, foil=" a")
    assert got.target == Target((8, 9), foil=5, objective="contrast")
    answer, foil = explain(system(), TEXT, target=ANSWER), explain(system(), TEXT, target=" a")
    torch.testing.assert_close(got.scores, answer.scores - foil.scores, atol=1e-12, rtol=0)
    assert "log-probability of “·New·York” minus log-probability of “·a”" in got.to_text()


def test_ids_serve_as_answers():
    assert explain(system(), TEXT, target=[8, 9]).target == Target((8, 9))


@pytest.mark.parametrize("explainer", [Occlusion(), GradientTimesInput(), IntegratedGradients(steps=9), Attention()])
def test_tokens_of_the_answer_add_up_to_it(explainer):
    built = llama() if type(explainer) in (Occlusion, Attention) else system()
    got = explain(built, TEXT, explainer, target=ANSWER, per_token=True)
    rows = got.arrays["answer"]
    assert rows.names == ("answer", "token")
    assert rows.values.shape == (2, 4)
    whole = rows.values.mean(0) if isinstance(explainer, Attention) else rows.values.sum(0)
    torch.testing.assert_close(whole, got.scores, atol=1e-9, rtol=1e-7)
    alone = explain(built, TEXT, explainer, target=" New")
    torch.testing.assert_close(rows.values[0], alone.scores, atol=1e-9, rtol=1e-7)
    assert got.spent["forwards"] > 2 * alone.spent["forwards"]


def test_tokens_of_an_answer_have_no_foil():
    with pytest.raises(ValueError, match="leave the foil out"):
        explain(system(), TEXT, target=ANSWER, foil=" a", per_token=True)


def test_what_stands_before_every_text_and_the_template_are_frozen():
    asked = ask(system(opening=(0,)), TEXT, target=ANSWER)
    assert asked.ids.tolist() == [0, 1, 2, 3, 4]
    assert asked.frozen.tolist() == [True, False, False, False, False]
    chat = ask(system(cls=Chatty), " cat sat", target=ANSWER, chat=True)
    assert chat.ids.tolist() == [0, 1, 2, 3, 4, 7]
    assert chat.frozen.tolist() == [True, True, False, False, True, True]
    got = chat.explain(Occlusion())
    assert got.frozen == (0, 1, 4, 5)
    assert [score != 0 for score in got.scores.tolist()] == [False, False, True, True, False, False]
    assert got.spelling.tokens[0] == "<|end|>"
    assert got.spelling.offsets[:3] == ((0, 0), (0, 3), (3, 7))


def test_a_template_that_repeats_the_message_freezes_the_first_mention():
    class Twice(System):
        def chat(self, text):
            return f"the cat on{text}\n"

    asked = ask(system(cls=Twice), " cat", target=ANSWER, chat=True)
    assert asked.frozen.tolist() == [True, True, True, False, True]


def test_positions_can_be_frozen():
    assert ask(system(), TEXT, freeze=[0, -1]).frozen.tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match="position 4 to freeze is outside the prompt of 4 tokens"):
        ask(system(), TEXT, freeze=[4])
    with pytest.raises(ValueError, match="all 4 tokens of the prompt are frozen"):
        ask(system(), TEXT, freeze=range(4))


def test_bad_questions_are_refused_before_any_pass():
    built = system()
    for words, message in (
        ({"target": ""}, "the answer is empty"),
        ({"target": [99]}, "target token 99 is outside the vocabulary of 13"),
        ({"target": ANSWER, "foil": ANSWER}, "must differ"),
        ({"target": ANSWER, "objective": "odds"}, "objective must be"),
    ):
        with pytest.raises(ValueError, match=message):
            explain(built, TEXT, **words)
    assert built.model.seen == []


def test_a_prompt_of_one_token():
    got = explain(system(), "the", target=ANSWER)
    assert got.scores.shape == (1,)
    assert got.scores.item() != 0


def test_a_prompt_beyond_the_positions_is_refused():
    built = system()
    built.model.max_positions = 4
    with pytest.raises(ValueError, match="a prompt of 4 tokens with its answer is more than the 4 positions"):
        explain(built, TEXT, target=ANSWER)
    assert explain(built, TEXT, target=" a").scores.shape == (4,)


def test_json_holds_all_of_it_and_reads_back():
    got = explain(llama(), TEXT, Attention(), target=ANSWER, foil=" a", freeze=[0], seed=3).merge([(0, 7)])
    back = Explanation.from_json(got.to_json())
    assert torch.equal(back.scores, got.scores)
    assert torch.equal(back.arrays["heads"].values, got.arrays["heads"].values)
    assert back.arrays["heads"].names == ("layer", "head", "token")
    for name in ("target", "method", "facts", "settings", "spent", "frozen", "seed", "spelling", "units"):
        assert getattr(back, name) == getattr(got, name), name
    assert back.seed == 3
    assert back.settings == {"normalize": None}
    assert str(back) == str(got)


def test_what_it_cost_is_told():
    got = explain(system(), TEXT, IntegratedGradients(steps=5), target=ANSWER)
    assert (got.spent["forwards"], got.spent["backwards"]) == (7, 5)
    assert got.spent["seconds"] > 0
    assert explain(system(), TEXT, target=ANSWER).spent["forwards"] == 5


def test_the_seed_decides_what_is_drawn():
    one, same, other = (explain(system(), TEXT, GradientShap(), target=ANSWER, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.scores, same.scores)
    assert not torch.equal(one.scores, other.scores)
    assert (one.seed, other.seed) == (0, 1)


def test_words_are_shown_as_words():
    built = system()
    got = explain(built, "the cat\n New York", target=" is").merge("line")
    assert got.labels() == ["the·cat↵", "·New·York"]
    assert "positions 3 to 4" in got.to_text()
    html = got.to_html()
    assert "positions 0 to 2" in html
    assert "<td>3 to 4</td>" in html


def test_faithfulness_comes_with_its_control_and_its_errors():
    built = system()
    got = explain(built, TEXT, target=ANSWER)
    found = got.faithfulness(built, draws=4)
    assert list(found) == list(NAMES)
    assert all(one.control_error >= 0 and 0 <= one.control <= 1.5 for one in found.values())
    assert found == got.faithfulness(built.model, draws=4)
    assert found != got.faithfulness(built, draws=4, seed=1)
    with pytest.raises(ValueError, match="token by token"):
        got.merge().faithfulness(built)
    html = got.to_html(judged=found)
    assert f"{found['soft_nc'].value:.3f} ± {found['soft_nc'].error:.3f}" in html
    assert f"{found['soft_nc'].control:.3f} ± {found['soft_nc'].control_error:.3f}" in html


def test_arrays_are_tables_on_the_page():
    got = explain(llama(), TEXT, Attention(), target=ANSWER, per_token=True)
    html = got.to_html()
    assert "attention per layer, on the average over heads" in html
    assert "attention per token of the answer" in html
    layers = got.arrays["heads"].values.mean(1)
    assert f"+{layers[1, 2]:.3f}" in html


def test_a_notebook_shows_the_picture_and_every_number():
    reader = read(Explanation.of(HOSTILE, TOKENIZER)._repr_html_())
    assert {"details", "table", "div", "bdi"} <= set(reader.tags)
    assert not {"script", "style", "img"} & set(reader.tags)
    assert "".join(reader.words).count("position 3") >= 1


@pytest.mark.parametrize("what", [made(), HOSTILE])
def test_pictures_hold_every_token_and_nothing_runs(what):
    got = Explanation.of(what, TOKENIZER)
    root = ElementTree.fromstring(got.to_svg())
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    if what is not HOSTILE:
        assert {"·Thai", "land", "↵"} <= set(words)
    assert not [element for element in root.iter() if element.tag.endswith(("script", "image", "foreignObject"))]


def test_pixels():
    got = Explanation.of(made(), TOKENIZER)
    assert got.to_png()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(got.to_png(scale=3)) > len(got.to_png(scale=1))
    with pytest.raises(ValueError, match="scale is pixels per point"):
        got.to_png(scale=0)


def test_heads_as_a_map():
    got = explain(llama(), TEXT, Attention(), target=ANSWER)
    assert "attention by layer, mean over heads" in got.to_svg("heads")
    assert got.merge("word").to_svg("heads")
    with pytest.raises(ValueError, match="attention has no array 'values'; it has heads"):
        got.to_svg("values")


def test_a_picture_of_a_book_is_refused():
    long = Explanation.of(made(ids=PROMPT.repeat(41)), TOKENIZER)
    with pytest.raises(ValueError, match="a picture holds 400 tokens, these are 410; merge them"):
        long.to_svg()


def test_side_by_side_they_are_merged_alike():
    one, other = explain(system(), TEXT, target=" a"), explain(system(), TEXT, GradientTimesInput(), target=" a")
    with pytest.raises(ValueError, match="merged alike"):
        to_html([one, other.merge([(0, 7)])])


def test_without_a_tokenizer_nothing_can_be_read():
    with pytest.raises(ValueError, match="give the tokenizer"):
        Explanation.of(made())
    assert Explanation.of(replace(Explanation.of(made(), TOKENIZER))).labels()[1] == "·landed"


def test_samplers_keep_to_a_budget_of_rows():
    kept = ReAGent(steps=3).within(1000)
    assert kept == ReAGent(steps=3)
    assert ReAGent().within(100).steps == 12
