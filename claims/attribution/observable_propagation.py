"""Directions pulled back from " her" - " his" through single heads tell names of women from names of men."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core import seeds
from trivium.core.progress import Bar
from trivium.models import weights
from trivium.models.observables import Head, coupling, of_words, through_head, through_unembedding
from trivium.models.sources import load
from trivium.models.system import System
from trivium.nn.detection import selected

WOMEN = (
    "Mary", "Linda", "Susan", "Jessica", "Sarah", "Karen", "Lisa", "Nancy", "Sandra", "Margaret", "Emily", "Michelle",
    "Amanda", "Melissa", "Rebecca", "Laura", "Helen", "Anna", "Emma", "Ruth",
)  # fmt: skip
MEN = (
    "John", "James", "Robert", "Michael", "William", "David", "Richard", "Joseph", "Thomas", "Charles", "Daniel",
    "Matthew", "Anthony", "Mark", "Paul", "Steven", "Andrew", "Kevin", "Brian", "George",
)  # fmt: skip
TEXT = "Yesterday {} took the book because"
SPLITS = 10
"""Halvings of the names."""
DRAWS = 30
LEAST, ABOVE = 0.97, 0.1
FIRST, SECOND = (" her", " his"), (" she", " he")
"""The observable, and another whose scores are compared with it at one head."""
WITHIN = 0.25


def states(system: System, bar: Bar) -> Tensor:
    """(names, layers, width): what the attention of each layer reads at the name. Raises ValueError for a name of
    several tokens."""
    sites = [f"blocks.{layer}.attn.norm" for layer in range(system.model.depth)]
    found = []
    for name in (*WOMEN, *MEN):
        start = TEXT.partition(" {}")[0]
        before, named, ids = (system.prompt(text)[0] for text in (start, f"{start} {name}", TEXT.format(name)))
        if len(named) != len(before) + 1:
            raise ValueError(f"{name!r} has {len(named) - len(before)} tokens and not one")
        with torch.no_grad(), system.model.capture(*sites) as seen:
            system.model(ids[None])
        found.append(torch.stack([seen[site][0, len(before)] for site in sites]))
        bar.advance()
    return torch.stack(found).double()


def directions(system: System, words: Sequence[str]) -> Tensor:
    """(layers, heads, width): the observable through the final norm's gain and each head, to what the head reads. One
    scale for all of the stream makes no difference to an order of scores."""
    model = system.model
    n = of_words(system.tokenizer, model.vocab_size, words[:1], words[1:])
    y = through_unembedding(model, n).double() * weights.norm_gain(model, "final.norm").double()
    return torch.stack(
        [
            torch.stack([through_head(model, Head(layer, head), y) for head in range(weights.heads(model, layer))])
            for layer in range(model.depth)
        ]
    )


def halves(split: int) -> tuple[Tensor, Tensor]:
    """(names,) bool each: as many women as men in both."""
    draws = seeds.generator(0, "observables", split)
    first = torch.zeros(len(WOMEN) + len(MEN), dtype=torch.bool)
    for start, names in ((0, WOMEN), (len(WOMEN), MEN)):
        first[start + torch.randperm(len(names), generator=draws)[: len(names) // 2]] = True
    return first, ~first


def run(bar: Bar) -> ClaimResult:
    bar.total = len(WOMEN) + len(MEN)
    system = load("smollm2-135m")
    x = states(system, bar)
    labels = torch.arange(len(x)) < len(WOMEN)
    one, other = directions(system, FIRST), directions(system, SECOND)
    scores = torch.einsum("nlw,lhw->lhn", x, one).flatten(0, 1)  # (heads, names)
    found, chosen, chance = [], [], []
    for split in range(SPLITS):
        first, second = halves(split)
        auc, place = selected(scores[:, first], labels[first], scores[:, second], labels[second])
        found.append(float(auc))
        chosen.append(int(place))
        draws = seeds.generator(0, "chance", split)
        made = []
        for _ in range(DRAWS):  # a random direction per head, which sees what that head's layer reads
            random = torch.randn(one.shape, generator=draws, dtype=torch.float64)
            control = torch.einsum("nlw,lhw->lhn", x, random).flatten(0, 1)
            made.append(float(selected(control[:, first], labels[first], control[:, second], labels[second])[0]))
        chance.append(sum(made) / DRAWS)
    head = max(set(chosen), key=chosen.count)
    layer, index = divmod(head, one.shape[1])
    here, there = x[:, layer] @ one[layer, index], x[:, layer] @ other[layer, index]
    here, there = here - here.mean(), there - there.mean()
    slope = float((here @ there) / (here @ here))
    expected = float(coupling(one[layer, index], other[layer, index]))
    near = abs(slope - expected) <= WITHIN * abs(expected)
    above = judge([auc - control for auc, control in zip(found, chance, strict=True)], more_than=ABOVE)
    mean = sum(found) / SPLITS
    if above.verdict == "contradicted" or mean < 0.5:
        verdict = "contradicted"
    else:
        verdict = "supported" if above.verdict == "supported" and mean >= LEAST else "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "auc": mean,
            "auc_selected_at_random": sum(chance) / SPLITS,
            "heads": [f"{place // one.shape[1]}.{place % one.shape[1]}" for place in chosen],
            "slope": slope,
            "coupling": expected,
            "slope_within_a_quarter": near,
            **above.figures,
        },
        "The slope of another observable's scores at the head chosen most is shown beside the claim: states of names "
        f"are not isotropic, so it need not be the coupling; here it {'is' if near else 'is not'} within a quarter.",
    )


claim = Claim(
    statement='An observable pulled back through a single head, without any training, tells what moves it: " her" less '
    '" his" sorts names by gender, better than directions picked at random in the same way.',
    paper="Dunefsky and Cohan 2024: feature vectors of gendered pronouns on GPT-Neo 1.3B, found from weights alone.",
    rule="SmolLM2-135M, 20 names of women and 20 of men in one sentence; the head is chosen on one half of the names "
    "and tested on the other, over 10 halvings. The mean signed AUC on the test half is at least 0.97 and above that "
    "of as many random directions chosen likewise by 0.1 (95 % t-interval): supported. The difference below 0.1 with "
    "its whole interval, or an AUC below 0.5: contradicted.",
    run=run,
)
