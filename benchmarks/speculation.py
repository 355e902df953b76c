"""Lossless methods in bfloat16 against plain decoding: our own, and all that ``transformers.generate`` offers.

Each kind of prompt has one method, and one of transformers' own, chosen by speed on its validation prompts; what is
recorded is measured on the test prompts, all contestants taking turns. The ends of texts are ignored, so that all write
equally many tokens. Beside the ratios stand the mean accepted length tau (the extra token included), the time v of a
pass over N positions in passes over one, after the prompt, and c, what drafting costs of a pass over one. The bound on
the ratio to the same engine's plain decoding is tau / (v(N) + c) for the mean number N of positions. Passes differ in
width, and a wide one is accepted at greater length, so that a ratio may exceed it a little.

Trained heads and a draft model take part where ``--drafts FOLDER`` names what ``trivium draft`` wrote, each in a folder
of its method's name; the draft model, in ``draft``, is the assistant of transformers too.

What holds a batch back is its slowest row: the others are done early, and of the passes that plain decoding makes too
few are saved while each costs more. Trained heads help every row, at the price of wider passes for all, less where the
rows share a number of positions; rows of one kind differ less.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.pairs import in_turns, processor, ratio_of, seconds
from trivium.core.method import find
from trivium.core.nouns import Generation
from trivium.core.protocols import Decoder, LanguageModel
from trivium.core.seeds import generator
from trivium.data.prompts import prompts
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.aded import Aded
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.joined import Joined
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.models.huggingface import HuggingFaceModel, wrap
from trivium.models.sources import load
from trivium.models.system import System

TARGETS = {"copy": 4.5, "code": 2.0, "chat": 1.6}
"""Best lossless method over ``transformers.generate``, greedy."""
OVER_PEERS = 1.5
OVER_BATCH = 1.2
ROWS = 16
HEADS = {
    "medusa": {"nodes": 16, "vocabulary": 8192},
    "hidden_transfer": {"nodes": 5},  # and three guesses beside each node
    "chimera": {"nodes": 16, "vocabulary": 8192},
}
POSITIONS = (1, 4, 8, 16, 32)
NEAR = 1.25
"""Contestants within this factor of the fastest are timed again before one is chosen."""


def run(
    *,
    model: str = "smollm2-135m",
    new: int = 64,
    repeats: int = 3,
    count: int = 5,
    drafts: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    system = load(model, dtype="bfloat16", device=device)
    slow = system.model
    assert isinstance(slow, HuggingFaceModel)
    fast = wrap(slow.inner, compile=True)  # type: ignore[arg-type]
    rows: list[dict[str, Any]] = []
    notes = [f"{processor(device)}; {count} prompts of each kind, {repeats} repeats", *_left_out(drafts)]
    candidates = _candidates(drafts, device)
    assistant = _assistant(drafts, device)
    short = _asked(system, "chat", "validation", 1)[0]
    for prompt in (short, short.repeat(1, 8)[:, :300]):  # compile for both sizes of buffers before anything is timed
        for width in POSITIONS:
            pass_cost(fast, prompt, width, repeats=1)
    for kind, target in TARGETS.items():
        tune, asked = (_asked(system, kind, split, count) for split in ("validation", "test"))
        chosen, tried = _tuned(candidates, fast, tune, new)
        peers: dict[str, dict[str, Any]] = {"lookup": {"prompt_lookup_num_tokens": 10}}
        if assistant is not None:
            peers["assistant"] = {"assistant_model": assistant}
        best = _best_peer(slow, peers, tune, new)
        bodies: dict[str, Callable[[], Any]] = {
            "ours": _ours(fast, asked, candidates[chosen], new),
            "plain": _ours(slow, asked, Greedy(), new),
            "fast plain": _ours(fast, asked, Greedy(), new),
            "generate": _transformers(slow, asked, new),
            best: _transformers(slow, asked, new, **peers[best]),
        }
        _ours(fast, asked[:1], candidates[chosen], 8)()
        _transformers(slow, asked[:1], 8)()
        took = in_turns(bodies, repeats=repeats, warmup=0)
        rows += [
            ratio_of(f"{chosen} / generate, {kind}", took["ours"], took["generate"], target),
            ratio_of(f"{chosen} / generate with {best}, {kind}", took["ours"], took[best], OVER_PEERS),
            ratio_of(f"{chosen} / own greedy, {kind}", took["ours"], took["plain"], None),
            ratio_of(f"{chosen} / own compiled greedy, {kind}", took["ours"], took["fast plain"], None),
        ]
        slower = ", ".join(f"{name} {value:.2f}" for name, value in tried.items() if name != chosen)
        notes.append(f"{kind}: chosen {chosen}; the others on validation prompts, in its time: {slower}")
        made = bodies["ours"]()
        notes.append(_account(kind, fast, asked[0], made, rows[-1]["ratio"]))
    for what, one in (("as it is", slow), ("compiled", fast)):
        prompt = _asked(system, "copy", "test", 1)[0]
        costs = ", ".join(f"v({width}) {pass_cost(one, prompt, width):.2f}" for width in POSITIONS)
        notes.append(f"time of a pass over N positions, {what}: {costs} after {prompt.shape[1]} tokens")
    for kinds in (tuple(TARGETS), *((kind,) for kind in TARGETS)):
        batch, made = _batch(system, slow, kinds, new, repeats, drafts)
        rows.append(batch)
        notes.append(made)
    return {"rows": rows, "notes": notes}


def _candidates(drafts: str | None, device: str) -> dict[str, Decoder]:
    """Lossless contestants by name; a pass is at most 32 positions wide, which is what is compiled for."""
    found: dict[str, Decoder] = {"greedy": Greedy()}
    for length, trust, ngram in ((15, 4, 2), (15, 15, 1)):
        name = f"prompt_lookup(length={length}, trust={trust}, ngram={ngram})"
        found[name] = Speculative(PromptLookup(length=length, trust=trust, ngram=ngram))
    for nodes in (16, 32):
        tree = PromptLookup(length=nodes - 1, trust=15, ngram=1, nodes=nodes)
        found[f"prompt_lookup(nodes={nodes})"] = Speculative(tree)
    found["aded(paths=4)"] = Speculative(Aded(paths=4, iterations=40, max_draft=12))
    for name in _there(drafts, tuple(HEADS)):
        heads = _heads(drafts, name, HEADS[name])
        found[_called(name, HEADS[name])] = Speculative(heads)
        if name == "hidden_transfer":
            continue  # verifies trees of its own only
        for length, trust, ngram in ((15, 4, 2), (15, 15, 1), (12, 15, 1)):
            lookup = PromptLookup(length=length, trust=trust, ngram=ngram)
            found[f"lookup({length}, {trust}, {ngram}) joined with {name}"] = Speculative(
                Joined(lookup, heads, nodes=16)
            )
    if _there(drafts, ("draft",)):
        draft = load(Path(drafts or "") / "draft", dtype="bfloat16", device=device).model
        found["draft_model(length=3)"] = Speculative(DraftModel(draft, length=3, draws="deterministic"))
    return found


def _heads(drafts: str | None, name: str, settings: dict[str, int]) -> Any:
    return find("drafting", name)(folder=str(Path(drafts or "") / name), **settings)


def _called(name: str, settings: dict[str, int]) -> str:
    return f"{name}({', '.join(f'{word}={value}' for word, value in settings.items())})"


def _there(drafts: str | None, names: Sequence[str]) -> list[str]:
    """The folders that hold something finished."""
    if drafts is None:
        return []
    marks = ("card.json", "config.json")
    return [name for name in names if any((Path(drafts) / name / mark).is_file() for mark in marks)]


def _left_out(drafts: str | None) -> list[str]:
    lacking = sorted({*HEADS, "draft"} - set(_there(drafts, (*HEADS, "draft"))))
    return [f"left out, since no folder was given for them: {', '.join(lacking)}"] if lacking else []


def _assistant(drafts: str | None, device: str) -> Any:
    if not _there(drafts, ("draft",)):
        return None
    return getattr(load(Path(drafts or "") / "draft", dtype="bfloat16", device=device).model, "inner")  # noqa: B009


def _asked(system: System, kind: str, split: str, count: int) -> list[Tensor]:
    items = [item for item in prompts(split) if item.fields["kind"] == kind][:count]
    return [system.prompt(system.chat(item.text)) for item in items]


def _fastest(bodies: dict[str, Callable[[], Any]]) -> tuple[str, dict[str, float]]:
    """The fastest, and the seconds of each in its seconds. Who comes near the fastest runs twice more, and the least
    time of each counts: what disturbs a run only makes it longer."""
    took = {name: times[0] for name, times in in_turns(bodies, repeats=1, warmup=0).items()}
    near = {name: body for name, body in bodies.items() if took[name] <= NEAR * min(took.values())}
    if len(near) > 1:
        again = in_turns(near, repeats=2, warmup=0)
        took |= {name: min(took[name], *times) for name, times in again.items()}
    best = min(near, key=lambda name: took[name])
    return best, {name: value / took[best] for name, value in took.items()}


def _tuned(
    candidates: dict[str, Decoder], model: LanguageModel, asked: list[Tensor], new: int
) -> tuple[str, dict[str, float]]:
    """The fastest on these prompts, and the seconds of each in its seconds."""
    _ours(model, asked[:1], candidates["greedy"], 2)()
    return _fastest({name: _ours(model, asked, decoder, new) for name, decoder in candidates.items()})


def _best_peer(model: HuggingFaceModel, peers: dict[str, dict[str, Any]], asked: list[Tensor], new: int) -> str:
    """The fastest of transformers' own on these prompts."""
    return _fastest({name: _transformers(model, asked, new, **settings) for name, settings in peers.items()})[0]


def _account(kind: str, model: LanguageModel, prompt: Tensor, made: list[Generation], ratio: float) -> str:
    """tau, acceptance, v and c of what was generated, and the ratio over the bound."""
    total = lambda word: sum(one.trace.total(word) for one in made)  # noqa: E731
    passes = sum(entry["rows"] for one in made for entry in one.trace.iterations)
    tau, positions = total("committed") / passes, total("target_positions") / passes
    verified = total("verified")
    rate = f"{total('accepted') / verified:.0%}" if verified else "none"
    single = pass_seconds(model, prompt, 1)
    v = pass_cost(model, prompt, max(round(positions), 1))
    c = sum(one.trace.seconds.get("draft", 0.0) for one in made) / passes / single
    bound = tau / (v + c)
    return (
        f"{kind}: tau {tau:.2f}, {rate} of drafts accepted, {positions:.1f} positions a pass at v {v:.2f}, drafting "
        f"c {c:.2f}; bound {bound:.2f}, measured over bound {ratio / bound:.0%}"
    )


def pass_seconds(model: LanguageModel, prompt: Tensor, positions: int, repeats: int = 7) -> float:
    """Median time of a pass over so many positions after the prompt."""
    with torch.inference_mode():
        state = model(prompt, keep_state=True, logits_to_keep=1).state
        feed = lambda: model(prompt[:, :1].repeat(1, positions), state=state)  # noqa: E731
        return statistics.median([seconds(feed) for _ in range(repeats + 1)][1:])


def pass_cost(model: LanguageModel, prompt: Tensor, positions: int, repeats: int = 9) -> float:
    """Time of a pass over so many positions after the prompt, in passes over one."""
    with torch.inference_mode():
        state = model(prompt, keep_state=True, logits_to_keep=1).state
        feed = lambda width: model(prompt[:, :1].repeat(1, width), state=state)  # noqa: E731
        took = in_turns({"many": lambda: feed(positions), "one": lambda: feed(1)}, repeats=repeats)
    return statistics.median(many / one for many, one in zip(took["many"], took["one"], strict=True))


def _batch(
    system: System, model: LanguageModel, kinds: tuple[str, ...], new: int, repeats: int, drafts: str | None
) -> tuple[dict[str, Any], str]:
    """Ragged rows of these kinds together: the drafter is chosen on validation prompts, as for single rows."""
    choices: dict[str, Decoder] = {
        "prompt_lookup(length=4)": Speculative(PromptLookup(length=4, trust=4, ngram=1)),
        f"prompt_lookup(nodes=16) sharing {2 * ROWS} positions": Speculative(
            PromptLookup(length=15, trust=15, ngram=1, nodes=16), positions=2 * ROWS
        ),
    }
    for name in _there(drafts, ("medusa", "chimera")):
        few = {"nodes": 4, "vocabulary": 8192}
        heads = _heads(drafts, name, few)
        choices[_called(name, few)] = Speculative(heads)
        choices[f"lookup joined with {name}, 4 nodes"] = Speculative(Joined(PromptLookup(length=3), heads, nodes=4))
        wide = _heads(drafts, name, HEADS[name])
        choices[f"{name} sharing {2 * ROWS} positions"] = Speculative(wide, positions=2 * ROWS)
        both = Joined(PromptLookup(length=15), wide, nodes=16)
        choices[f"lookup joined with {name} sharing {3 * ROWS} positions"] = Speculative(both, positions=3 * ROWS)
    tune = _rows(system, "validation", kinds)
    best, _ = _fastest({name: _together(model, tune, decoder, new) for name, decoder in choices.items()})
    ids, mask = _rows(system, "test", kinds)
    fast, plain = _together(model, (ids, mask), choices[best], new), _together(model, (ids, mask), Greedy(), new)
    took = in_turns({"fast": fast, "plain": plain}, repeats=repeats)
    what = f"{ROWS} ragged rows of {kinds[0] if len(kinds) == 1 else 'all kinds'}"
    ratio = ratio_of(f"{best} / own greedy, {what}", took["fast"], took["plain"], OVER_BATCH)
    trace = fast().trace
    tau = trace.total("committed") / sum(entry["rows"] for entry in trace.iterations)
    lengths = mask.sum(1)
    return ratio, (
        f"{what}, {int(lengths.min())} to {int(lengths.max())} tokens: tau {tau:.2f}, "
        f"{len(trace.iterations)} passes where plain decoding makes {new - 1}"
    )


def _rows(system: System, split: str, kinds: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(rows, time) with padding on the left, and the mask of real tokens; prompts come again where they are few."""
    items = [item for item in prompts(split) if item.fields["kind"] in kinds]
    asked = [system.prompt(system.chat(items[index % len(items)].text))[0] for index in range(ROWS)]
    width = max(len(row) for row in asked)
    ids = torch.zeros(ROWS, width, dtype=torch.int64, device=system.model.device)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, prompt in enumerate(asked):
        ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = prompt, True
    return ids, mask


def _together(
    model: LanguageModel, given: tuple[Tensor, Tensor], decoder: Decoder, new: int
) -> Callable[[], Generation]:
    return lambda: decoder(model, given[0], mask=given[1], limit=new, generator=generator(0))


def _ours(model: LanguageModel, asked: list[Tensor], decoder: Decoder, new: int) -> Callable[[], list[Generation]]:
    return lambda: [decoder(model, prompt, limit=new, generator=generator(0)) for prompt in asked]


def _transformers(model: HuggingFaceModel, asked: list[Tensor], new: int, **more: Any) -> Callable[[], object]:
    inner: Any = model.inner
    never = model.vocab_size  # ``min_new_tokens`` would change the text where an end token is the likeliest
    settings = {"do_sample": False, "eos_token_id": never, "max_new_tokens": new, "pad_token_id": 0, **more}
    return lambda: [inner.generate(prompt, attention_mask=torch.ones_like(prompt), **settings) for prompt in asked]
