"""A part of a model foretells what the whole refuses, in forms it was not shown, and stands for it under search."""

from dataclasses import replace

import torch

from claims.evaluation._desk import DEPTH, desk
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.data.policy import policy
from trivium.evaluation._triggers import Search
from trivium.evaluation.stats.verdicts import Verdict
from trivium.evaluation.surrogates import Agreement, Labelled, Surrogates
from trivium.models.system import System

SEEDS, PROMPTS, ENOUGH, TRIED = 5, 300, 0.9, 30


def words(system: System, labelled: Labelled) -> torch.Tensor:
    """(prompts, vocab): how often each token is in the prompt, whatever the order."""
    rows = [system.tokenizer.encode(one.text) for one in labelled.asked]
    width = system.tokenizer.vocab_size
    return torch.stack([torch.bincount(torch.tensor(row), minlength=width).double() for row in rows])


def run(bar: Bar) -> ClaimResult:
    """Models of five seeds. The depth is chosen on other prompts than those it is judged by; forms are held out."""
    bar.total = SEEDS
    task = Surrogates(prompts=PROMPTS, limit=3)
    curves, bags, gaps, depths, transfers, honest, moved = [], [], [], [], [], [], []
    for seed in range(SEEDS):
        bar.note(f"seed {seed}")
        system = desk(seed)
        labelled = task.label(system, policy(PROMPTS, seed))
        known = torch.tensor([one.refused for one in labelled.asked])
        honest.append(float((known == labelled.refused).double().mean()))
        tuning = task.label(system, policy(PROMPTS, 100 + seed))
        found = [task.agreement(tuning, depth).refused for depth in range(DEPTH)]
        depth = next((at for at, value in enumerate(found) if value > ENOUGH), max(range(DEPTH), key=found.__getitem__))
        curve = [task.agreement(labelled, at).refused for at in range(DEPTH + 1)]
        bag: Agreement = task.agreement(replace(labelled, states={0: words(system, labelled)}), 0)
        transfer = task.transfer(system, labelled, depth, attack=Search(steps=30, width=48), suffix=4, tried=TRIED)
        curves.append(curve)
        bags.append(bag.refused)
        depths.append(depth)
        gaps.append(curve[depth] - bag.refused)
        transfers.append([transfer.tried, transfer.turned, transfer.moved, transfer.random])
        moved.append((transfer.rate or 0.0) - transfer.random_rate)
        bar.advance()
    at_depth = [curve[depth] for curve, depth in zip(curves, depths, strict=True)]
    parts = {
        "beats_bag_of_words_on_unseen_forms": judge(gaps),
        "above_0.9_below_the_whole_depth": judge(at_depth, more_than=ENOUGH),
        "rises_with_depth": judge([curve[depth] - curve[0] for curve, depth in zip(curves, depths, strict=True)]),
        "transfers_more_than_random_tokens": judge(moved),
    }
    verdicts = [each.verdict for each in parts.values()]
    verdict: Verdict = "supported"
    if "contradicted" in verdicts:
        verdict = "contradicted"
    elif "not visible at this scale" in verdicts:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            **parts["beats_bag_of_words_on_unseen_forms"].figures,
            "parts": {name: dict(each.figures) | {"verdict": each.verdict} for name, each in parts.items()},
            "f1_by_depth": curves,
            "bag_of_words": bags,
            "depths": depths,
            "model_follows_the_policy": honest,
            "tried_turned_moved_random": transfers,
        },
        f"{DEPTH}-layer models on a harmless policy; the search swaps {4} tokens behind the prompt, without gradients",
    )


claim = Claim(
    statement="A head on some of a model's layers foretells its refusals with F1 above 0.9 in forms that it was not "
    "shown, better than a bag of words; tokens that turn it turn the model more often than random ones.",
    paper="Noirot Ferrand et al. 2025 (arXiv:2501.16534), abstract: F1 above 0.80 with as little as 20 % of the "
    "model; at 50 % of Llama 2 attacks transfer at 70 %, against 22 % for attacking the model.",
    rule=f"Over {SEEDS} seeds, at the first depth that exceeds 0.9 on other prompts: F1 less that of a bag of words "
    "above 0, F1 above 0.9, F1 less that of depth 0 above 0, transfer rate less that of random tokens above 0. "
    "Supported where all 95 % t-intervals are; contradicted where one lies below.",
    run=run,
)
