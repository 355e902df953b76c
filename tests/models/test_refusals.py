import pytest
import torch

from tests.families import wrapped
from trivium.models.refusals import by_judge, by_phrases
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


def test_phrases_are_whole_words_in_any_case():
    said = ["NO", "No way", "nothing", "well, no.", "OK", ""]
    assert by_phrases(said, ("NO",)).tolist() == [True, True, False, True, False, False]
    usual = ["I’m busy", "I can't do that.", "Sure! i CANNOT wait to help", "I'm sorry, but no", "Here it is"]
    assert by_phrases(usual).tolist() == [False, True, True, True, False]  # the third shows how phrases err
    for wrong in ((), (" ",)):
        with pytest.raises(ValueError, match="phrases must be texts"):
            by_phrases(said, wrong)


def test_a_judge_says_what_it_finds_likelier():
    judge = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "judge")
    prompts, responses, question = ["a", "bc"], ["d", "ef"], "P {prompt} R {response} A"
    got = by_judge(judge, prompts, responses, question=question)
    for at in range(2):
        context = question.format(prompt=prompts[at], response=responses[at])
        yes, no = (one.total for one in score(judge, [Request(context, " yes"), Request(context, " no")]))
        assert bool(got[at]) == (yes > no)
    assert got.dtype == torch.bool
    with pytest.raises(ValueError, match=r"must have {prompt} and {response}"):
        by_judge(judge, prompts, responses, question="{prompt}?")
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        by_judge(judge, prompts, ["d"])
