"""A small model of English needs more bits for a character the further a language is from what it read."""

from pathlib import Path

import numpy as np
from scipy import stats

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.seeds import numpy_generator
from trivium.evaluation.languages import Languages
from trivium.models.sources import load

UD = Path(__file__).resolve().parents[3] / "shared" / "data" / "ud"
FILES = {
    "english": "en_ewt",
    "french": "fr_gsd",
    "spanish": "es_gsd",
    "norwegian": "no_bokmaal",
    "ancient_greek": "grc_proiel",
}
SENTENCES = 120
RESAMPLES = 10_000
ORDER = (
    ("english", "french"),
    ("english", "spanish"),
    ("french", "norwegian"),
    ("spanish", "norwegian"),
    ("norwegian", "ancient_greek"),
)
"""Of each pair, the first is said to need fewer bits."""


def run(bar: Bar) -> ClaimResult:
    """Sentences of each language; a bootstrap over sentences of the ratio of sums, each language by itself."""
    bar.total = len(FILES)
    system, here = load("smollm2-135m"), UD.is_dir()
    sums: dict[str, dict[str, np.ndarray]] = {}
    for language, file in FILES.items():
        task = Languages(language, str(UD / f"{file}-ud-dev.conllu") if here else "", items=SENTENCES)
        seen = [task.score(system, example).values for example in task.examples("test")]
        over = {name: np.array([one[name] for one in seen]) for name in ("characters", "bytes", "words")}
        sums[language] = {
            **over,
            "bits": np.array([one["bits_per_character"] for one in seen]) * over["characters"],
            "tokens": np.array([one["fertility"] for one in seen]) * over["words"],
        }
        bar.advance(1, language)

    def ratio(language: str, top: str, bottom: str) -> float:
        return float(sums[language][top].sum() / sums[language][bottom].sum())

    drawn: dict[str, np.ndarray] = {}
    for language, each in sums.items():
        rows = numpy_generator(0, "languages", language).integers(0, len(each["bits"]), (RESAMPLES, len(each["bits"])))
        drawn[language] = each["bits"][rows].sum(1) / each["characters"][rows].sum(1)
    parts: dict[str, dict[str, float]] = {}
    for low, high in ORDER:
        ends = np.quantile(drawn[high] - drawn[low], [0.025, 0.975])
        parts[f"{high} minus {low}"] = {
            "difference": ratio(high, "bits", "characters") - ratio(low, "bits", "characters"),
            "low": float(ends[0]),
            "high": float(ends[1]),
        }
    below, above = (any(part[end] < 0 for part in parts.values()) for end in ("high", "low"))
    table = {
        language: {
            "bits_per_character": ratio(language, "bits", "characters"),
            "bits_per_byte": ratio(language, "bits", "bytes"),
            "fertility": ratio(language, "tokens", "words"),
        }
        for language in FILES
    }
    fertility, bits = ([row[name] for row in table.values()] for name in ("fertility", "bits_per_character"))
    return ClaimResult(
        "contradicted" if below else "not visible at this scale" if above else "supported",
        {
            "parts": parts,
            "languages": table,
            "rank_correlation_of_fertility": float(np.corrcoef(stats.rankdata(fertility), stats.rankdata(bits))[0, 1]),
            "sentences": {language: len(each["bits"]) for language, each in sums.items()},
        },
        "development sets of Universal Dependencies" if here else "sentences of our own, which nearly are translations",
    )


claim = Claim(
    statement="Bits per character of a model trained on English order languages: English below French and Spanish, "
    "these below Norwegian, and Norwegian below Ancient Greek.",
    paper="No figure: the papers (arXiv:2312.01314, arXiv:2212.08390) compare models within a language. The order is "
    "an expectation from what such models read.",
    rule="Bits per character over sentences, as ratios of sums. Five pairs of neighbours; supported where the 95 % "
    "bootstrap interval over sentences of every difference lies above 0, contradicted where one lies below 0, "
    "otherwise not visible. The rank correlation with fertility is printed beside it.",
    run=run,
)
