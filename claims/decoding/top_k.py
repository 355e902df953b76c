"""Top-k sampling repeats itself less than beam search."""

from claims.decoding._text import less_repetition
from trivium.compare.claim import Claim
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.top_k import TopK

claim = Claim(
    statement="Beam search gives repetitive text where sampling from the ten likeliest tokens does not.",
    paper="Fan, Lewis, Dauphin 2018, section 5.4: beam search 'tends to produce common phrases and repetitive text'; "
    "no figure is given for it.",
    rule="Share of repeated 4-grams in 96 tokens, beam search (width 5) minus top-k (k = 10): supported where the 95 % "
    "interval over prompts is above 0.",
    run=lambda bar: less_repetition(BeamSearch(5), TopK(10), bar, seeds=(0,)),
)
