"""Domain-conditional PMI raises macro-F1 of the most label-biased template."""

from functools import partial

from claims.prompting._calibrated import RULE, run
from trivium.compare.claim import Claim
from trivium.prompting.pmi_dc import PmiDc

claim = Claim(
    statement="Domain-conditional PMI raises macro-F1 of the template whose answers are most biased.",
    paper="Holtzman et al. 2021 (arXiv:2104.08315): better than calibrated and uncalibrated scoring on most of 13 "
    "multiple-choice sets, for GPT-2 and GPT-3 (abstract; figures not checked).",
    rule=RULE,
    run=partial(run, PmiDc()),
)
