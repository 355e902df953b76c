"""Contextual calibration raises macro-F1 of the most label-biased template."""

from functools import partial

from claims.prompting._calibrated import RULE, run
from trivium.compare.claim import Claim
from trivium.prompting.contextual_calibration import ContextualCalibration

claim = Claim(
    statement="Contextual calibration raises macro-F1 of the template whose answers are most biased.",
    paper="Zhao et al. 2021 (arXiv:2102.09690): up to 30 points of accuracy for GPT-2 and GPT-3 (abstract).",
    rule=RULE,
    run=partial(run, ContextualCalibration()),
)
