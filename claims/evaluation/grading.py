"""Shuffled words lower the proxy of grammar step by step, and a small judge may or may not notice them."""

import numpy as np
from scipy import stats

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import numpy_generator
from trivium.data.stories import stories
from trivium.evaluation._graders import RUBRIC, LikelihoodGrader, Rubric, Story, fluency
from trivium.models.sources import load

STORIES = 30
SHARES = (0.0, 0.1, 0.3)
"""Of the words, those that change places with a neighbour."""


def shuffled(text: str, share: float, generator: np.random.Generator) -> str:
    """With so many of its words swapped in pairs of neighbours; no word is moved twice."""
    said = text.split()
    free = list(range(len(said) - 1))
    for _ in range(round(share * len(said) / 2)):
        at = int(generator.choice(free))
        said[at], said[at + 1] = said[at + 1], said[at]
        free = [other for other in free if abs(other - at) > 1]
        if not free:
            break
    return " ".join(said)


def run(bar: Bar) -> ClaimResult:
    """Held-out stories, their second halves left as they are or shuffled, graded by one judge."""
    bar.total = len(SHARES)
    system = load("smollm2-135m")
    whole = [" ".join(text.split()) for text in stories(1000, seed=2)["test"]][:STORIES]
    cut = [text.index(". ") + 1 for text in whole]
    proxy: dict[float, list[float]] = {}
    grade: dict[float, list[float]] = {}
    for share in SHARES:
        made = [
            Story(text[:at], shuffled(text[at:], share, numpy_generator(0, "shuffled", share, number)))
            for number, (text, at) in enumerate(zip(whole, cut, strict=True))
        ]
        proxy[share] = [value for value in fluency(system, made) if value is not None]
        graded = LikelihoodGrader(system, Rubric((RUBRIC.criteria[0],)))(made)
        grade[share] = [one.scores["grammar"] for one in graded]
        bar.advance(1, f"{share:.0%} of words")
    none, some, many = SHARES
    parts = {
        "proxy, 0 to 10 %": judge([a - b for a, b in zip(proxy[none], proxy[some], strict=True)]),
        "proxy, 10 to 30 %": judge([a - b for a, b in zip(proxy[some], proxy[many], strict=True)]),
    }
    wins = sum(a > b for a, b in zip(grade[none], grade[many], strict=True))
    interval = stats.binomtest(wins, len(whole)).proportion_ci(method="wilson")
    notices = wins / len(whole) > 0.6 and interval.low > 0.5
    words = {part.verdict for part in parts.values()}
    if "contradicted" in words or interval.high < 0.5:
        verdict = "contradicted"
    else:
        verdict = "supported" if words == {"supported"} and notices else "not visible at this scale"
    unfit = "" if notices else "; the interval holds one half or the share is below 60 %: not fit for grading"
    return ClaimResult(
        verdict,
        {
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "intact_graded_higher": {"share": wins / len(whole), "low": interval.low, "high": interval.high},
            "mean_proxy": {f"{share:.0%}": sum(each) / len(each) for share, each in proxy.items()},
            "mean_grade": {f"{share:.0%}": sum(each) / len(each) for share, each in grade.items()},
            "stories": len(whole),
        },
        f"a judge of 135M parameters{unfit}",
    )


claim = Claim(
    statement="The more words of a story change places, the lower its log-probability per token; and a small judge "
    "expects a higher grade of grammar for the intact story than for one with 30 % of its words displaced.",
    paper="Eldan and Li 2023 (arXiv:2305.07759): GPT-4 grades grammar, creativity and consistency, which rise with a "
    "model's size from about 6 to 8 of 10 (from a secondary source, not checked).",
    rule="30 held-out stories. The proxy's paired differences, 0 minus 10 % and 10 minus 30 %, have 95 % t-intervals "
    "above 0, and the intact story has the higher grade in more than 60 % of stories with Wilson's 95 % interval above "
    "one half: supported. An interval below 0, or below one half: contradicted. Otherwise not visible, and a judge "
    "whose interval holds one half is called not fit for grading.",
    run=run,
)
