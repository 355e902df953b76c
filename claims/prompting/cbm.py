"""Calibration by marginalisation raises macro-F1 of the most label-biased template."""

from functools import partial

from claims.prompting._calibrated import RULE, run
from trivium.compare.claim import Claim
from trivium.prompting.cbm import Cbm

claim = Claim(
    statement="Calibration by marginalisation raises macro-F1 of the template whose answers are most biased.",
    paper="Yang et al. 2024 (arXiv:2305.14877): with CBM for prompt selection, scaled F1 rises from 94.98 % to 96.85 % "
    "(13 tasks, models of 1.3B to 66B, abstract).",
    rule=RULE,
    run=partial(run, Cbm(pool=None)),
)
