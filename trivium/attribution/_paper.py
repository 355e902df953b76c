"""Explainers with the settings under which a paper compared them."""

from trivium.attribution import (
    attention,
    attention_rollout,
    gradient_norm,
    gradient_shap,
    gradient_times_input,
    integrated_gradients,
    last_attention,
    reagent,
)
from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.protocols import Explainer

PRESETS: dict[str, dict[str, Explainer]] = {
    "reagent-paper": {
        "reagent": reagent.PAPER,
        "gradient_norm": gradient_norm.PAPER,
        "gradient_times_input": gradient_times_input.PAPER,
        "integrated_gradients": integrated_gradients.PAPER,
        "gradient_shap": gradient_shap.PAPER,
        "attention": attention.PAPER,
        "last_attention": last_attention.PAPER,
        "attention_rollout": attention_rollout.PAPER,
    }
}
"""reagent-paper: ReAGent and its seven baselines as arXiv:2402.00794 runs them. Each file says what differs from our
defaults, and what could not be had."""


def preset(name: str) -> dict[str, Explainer]:
    """Explainers of a preset by their names. Raises UnknownName."""
    if name not in PRESETS:
        raise UnknownName(f"no preset is called {name!r}{did_you_mean(name, PRESETS)}")
    return PRESETS[name]
