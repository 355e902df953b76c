"""Ancestral sampling: draw each token from the model's distribution, sharpened or flattened by a temperature.

Source
    Textbook; temperature after Ackley, Hinton, Sejnowski 1985, "A Learning Algorithm for Boltzmann Machines",
    Cognitive Science 9(1). Repetition penalty after Keskar et al. 2019, "CTRL", arXiv:1909.05858, section 4.1;
    frequency and presence penalties as OpenAI documents them for its interface; no repeated n-gram after Paulus, Xiong,
    Socher 2018, "A Deep Reinforced Model for Abstractive Summarization", arXiv:1705.04304, section 2.5.
Equation
    x_{t+1} ~ softmax(z_t / temperature)
    repetition: z(v) / r  where z(v) > 0, else z(v) * r, for every v that was seen
    frequency, presence: z(v) - a * count(v) - b * [count(v) > 0], over what was generated
Shapes
    logits (batch, vocab) -> tokens (batch,)
Cost
    One model call per new token; O(vocab) on top, and a partial sort where top_p is set.
Caveats
    This is the composable sampler: all settings may be combined, and act in the order repetition, frequency and
    presence penalty, no repeated n-gram, bad words, minimum length, temperature, top-k, top-p, min-p, typical,
    epsilon, eta, as in transformers, which lacks the second and third. Temperature 0 is greedy decoding under the
    other settings. The repetition penalty and the n-grams count the prompt, as in transformers and unlike CTRL, where
    generated tokens are counted; the frequency and presence penalties count generated tokens only. Each row draws
    from its own stream: its tokens do not depend on its neighbours in the batch.
"""

from dataclasses import dataclass

from trivium.core.method import method
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sampler import Sampler


@method(title="Ancestral sampling", source="textbook", year=1985, needs=["causal", "state"])
@dataclass(frozen=True)
class Sampling(Sampler):
    """Draws from the model's distribution after the logits pipeline."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_k: int | None = None
    """Keep so many likeliest tokens."""
    top_p: float | None = None
    """Keep the smallest likeliest set of this probability."""
    min_p: float | None = None
    """Keep tokens at least this fraction as likely as the likeliest."""
    repetition_penalty: float = 1.0
    """Makes tokens that were seen less likely; 1 is off."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it was generated; 0 is off."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token that was generated; 0 is off."""
    no_repeat_ngram: int = 0
    """No sequence of so many tokens comes twice, the prompt included; 0 is off."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Token sequences that never appear."""
    min_length: int = 0
    """New tokens before a stop token may appear."""
    typical_p: float | None = None
    """Keep the smallest set of this probability whose surprise is nearest to the entropy."""
    epsilon: float | None = None
    """Keep tokens of at least this probability."""
    eta: float | None = None
    """The same, with a threshold that falls where the distribution is wide."""

    def __post_init__(self) -> None:
        _ = self.pipeline  # which checks every field

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            no_repeat_ngram=self.no_repeat_ngram,
            bad_words=self.bad_words,
            min_length=self.min_length,
            typical_p=self.typical_p,
            epsilon=self.epsilon,
            eta=self.eta,
        )
