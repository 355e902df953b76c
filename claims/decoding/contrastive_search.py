"""Contrastive search repeats itself less than greedy decoding."""

from claims.decoding._text import less_repetition
from trivium.compare.claim import Claim
from trivium.decoding.contrastive_search import ContrastiveSearch
from trivium.decoding.greedy import Greedy

claim = Claim(
    statement="Contrastive search removes the repetition of greedy decoding without drawing at random.",
    paper="Su and Collier 2023: judged comparable with human text on 12 of 16 languages, where greedy degenerates.",
    rule="Repeated 4-grams in 96 tokens, greedy minus contrastive search (k = 4, alpha = 0.6): supported where "
    "the 95 % interval over prompts is above 0.",
    run=lambda bar: less_repetition(Greedy(), ContrastiveSearch(), bar, seeds=(0,)),
)
