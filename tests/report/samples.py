"""Reports to draw: one like a real comparison of decoders, one of training, and what a hostile model might say."""

import math
from typing import Any

import numpy as np

HOSTILE = {
    "script": "<script>window.injected = 1; alert('x')</script><img src=x onerror='window.injected=1'>",
    "closing": "</script><script>window.injected = 1</script> <!-- ]]> --> &lt;b&gt; &#60;i&#62; \"' `",
    "endless": "x" * 30_000,
    "many": "word " * 20_000,
    "right to left": "\u202eevil\u202d مرحبا بالعالم שלום עולם \u2066isolated \u200f",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 Z̷̢͔̲̈́͠ͅa̵̪̿l̶̨̛͓g̴̨̀o̵͓̊ 𝔘𝔫𝔦",
    "surrogates": "half \ud83d of a pair \udc00 and \ude00\ud83d reversed",
    "control": "null \x00 bell \x07 escape \x1b[31mred\x1b[0m \x85 \u2028 \u2029 \ufffe del \x7f carriage\rreturn",
    "markdown": "| pipe | `code` ``` *bold* [link](javascript:alert(1)) # head\n\n| new | row |",
}

CONFIGS = {
    "greedy": "greedy",
    "sampling": "sampling(temperature=0.8)",
    "top_p": "top_p(p=0.9)",
    "min_p": "min_p(floor=0.1)",
    "contrastive_search": "contrastive_search(k=4, alpha=0.6)",
    "beam_search": "beam_search(width=4)",
    "speculative": 'speculative(drafter=prompt_lookup(length=8), verifier="match")',
    "mirostat": "mirostat(target=3.0)",
}
LOSSLESS = {"greedy", "speculative"}
MEASURES = [
    {"name": "logprob", "title": "mean log-probability", "higher_is_better": True, "unit": "nats/token"},
    {"name": "repetition", "title": "repeated 4-grams", "higher_is_better": False, "unit": ""},
    {"name": "diversity", "title": "distinct bigrams", "higher_is_better": None, "unit": ""},
]
QUALITY = {
    "greedy": (-0.62, 0.41, 0.58),
    "sampling": (-1.71, 0.06, 0.91),
    "top_p": (-1.31, 0.11, 0.86),
    "min_p": (-1.12, 0.12, 0.84),
    "contrastive_search": (-1.05, 0.05, 0.93),
    "beam_search": (-0.51, 0.46, 0.55),
    "speculative": (-0.62, 0.41, 0.58),
}
COST = {
    "greedy": (64, 3.4, 1.73e10),
    "sampling": (64, 3.5, 1.73e10),
    "top_p": (64, 3.6, 1.73e10),
    "min_p": (64, 3.5, 1.73e10),
    "contrastive_search": (128, 9.8, 6.9e10),
    "beam_search": (64, 8.7, 6.92e10),
    "speculative": (21, 1.5, 2.31e10),
}
PROMPTS = {
    "copy": "Copy the following list, then add one item.\n\n1. A wooden spoon\n2. A copper kettle\n3. A linen apron\n",
    "chat": "My neighbour's cat visits every morning at six and sings. How do I tell them kindly?",
    "code": 'def moving_average(values, width):\n    """Mean of each window of `width` values."""\n',
}
WORDS = {
    "copy": "1. A wooden spoon\n2. A copper kettle\n3. A linen apron\n4. A cast-iron pan, well seasoned\n",
    "chat": (
        "You could begin by saying how fond you are of the cat, and then mention the hour. Most people are glad to "
        "hear it from a friend rather than from a note under the door."
    ),
    "code": (
        "    total = sum(values[:width])\n    means = [total / width]\n"
        "    for new, old in zip(values[width:], values):\n"
        "        total += new - old\n        means.append(total / width)\n    return means\n"
    ),
}


def decoding(prompts: int = 12, seeds: int = 2) -> dict[str, Any]:
    """Eight decoders on three kinds of prompt; one of them not applicable, one with failures."""
    rng = np.random.default_rng(0)
    contenders = [_contender(name, prompts * seeds, rng) for name in CONFIGS]
    pairs = []
    for name in QUALITY:
        for index, measure in enumerate(MEASURES):
            if name == "greedy" or measure["higher_is_better"] is None:
                continue
            difference = QUALITY[name][index] - QUALITY["greedy"][index]
            half = 0.11 if index == 0 else 0.07
            sure = abs(difference) > half
            better = measure["higher_is_better"]
            verdict = "not visible at this scale" if not sure else None
            if sure and better is not None:
                verdict = "supported" if (difference > 0) == better else "contradicted"
            pairs.append(
                {
                    "a": name,
                    "b": "greedy",
                    "measure": measure["name"],
                    "difference": difference,
                    "low": difference - half,
                    "high": difference + half,
                    "p": 0.0004 if sure else 0.41,
                    "p_holm": 0.005 if sure else 1.0,
                    "verdict": verdict,
                    "n": prompts * seeds,
                    "clusters": prompts,
                    "method": "cluster bootstrap",
                    "detectable": half * 1.4,
                    "correlation": 0.5,
                }
            )
    return {
        "title": "Decoding on smollm2-135m",
        "kind": "decoding",
        "question": "Which decoder is best by continuation at 64 new tokens?",
        "task": {"name": "continuation", "config": "continuation()", "examples": prompts, "kinds": 3},
        "system": {"name": "smollm2-135m", "config": "smollm2-135m", "dtype": "float32", "fingerprint": "9f31c0de"},
        "budget": {"unit": "new_tokens", "amount": 64.0, "tolerance": 0.02, "text": "64 new_tokens"},
        "baseline": "greedy",
        "smoke": False,
        "measures": [dict(m) for m in MEASURES],
        "units": {
            "flops": "floating-point operations, two per multiply-add",
            "calls": "forward passes of a model",
            "new_tokens": "tokens generated",
            "seconds": "wall-clock seconds",
            "peak_bytes": "peak memory above the start, bytes",
        },
        "contenders": contenders,
        "pairs": pairs,
        "examples": [
            _example(kind, i, seed, rng) for i in range(prompts // 3) for kind in PROMPTS for seed in range(seeds)
        ],
        "curves": {},
        "tuning": {
            "trials": 4,
            "split": "validation",
            "counted": "4 trials each on the validation split, counted in what was spent",
        },
        "statistics": {
            "interval": "cluster bootstrap, 10000 resamples",
            "family": "the 12 pairs of two measures",
            "seed": 0,
            "confidence": 0.95,
        },
        "provenance": {
            "made": "2026-01-14T09:26:53+00:00",
            "versions": {
                "trivium": "0.1.0",
                "torch": "2.13.0",
                "transformers": "5.23.0",
                "tokenizers": "0.22.2",
                "safetensors": "0.7.0",
            },
            "python": "3.11.2",
            "commit": {"id": "968cc60d1f0b7a6c", "clean": True},
            "machine": {
                "system": "Linux x86_64",
                "processor": "a processor",
                "cores": 2,
                "threads": 2,
                "accelerator": None,
            },
            "seeds": list(range(seeds)),
            "data": {"sha256": "4be2c9f1c64c1bb9a5f0f1ab"},
        },
        "command": "trivium compare decoding --model smollm2-135m --budget '64 new_tokens' --folder runs/decoders",
    }


def training() -> dict[str, Any]:
    """Two architectures at equal compute, three seeds, with curves."""
    rng = np.random.default_rng(1)
    made = decoding(prompts=3)
    names = {"llama": 1.93, "gated_linear": 1.86}
    made.update(
        title="Architectures on stories",
        kind="architectures",
        question="Which architecture learns more from 2 PFLOP of training?",
        task={"name": "bits per byte", "config": "bits_per_byte()"},
        system={"name": "trained from scratch"},
        baseline="llama",
        budget={"unit": "flops", "amount": 2e15, "tolerance": 0.02, "text": "2e+15 flops"},
        examples=[],
        tuning={},
        measures=[{"name": "bits_per_byte", "title": "bits per byte", "higher_is_better": False, "unit": "bits"}],
        units={"flops": "", "tokens": "", "seconds": "", "parameters": "", "peak_bytes": ""},
    )
    made["contenders"] = [
        {
            "name": name,
            "config": f"{name}(width=256, depth=6)",
            "lossless": False,
            "note": "untuned",
            "baseline": name == "llama",
            "measures": {"bits_per_byte": {"mean": end, "low": end - 0.02, "high": end + 0.02, "n": 3, "clusters": 3}},
            "by_group": {},
            "spent": {
                "flops": {"median": 2e15, "total": 6e15, "low": 1.99e15, "high": 2.0e15},
                "seconds": {"median": 410 + 90 * i, "total": 1230, "low": 400, "high": 520},
                "tokens": {"median": 8.1e6 + 9e5 * i, "total": 2.4e7, "low": None, "high": None},
                "parameters": {"median": 3.1e6, "total": 3.1e6, "low": None, "high": None},
            },
            "failed": [],
            "tuned": [],
        }
        for i, (name, end) in enumerate(names.items())
    ]
    made["pairs"] = [
        {
            "a": "gated_linear",
            "b": "llama",
            "measure": "bits_per_byte",
            "difference": -0.07,
            "low": -0.1,
            "high": -0.04,
            "p": 0.01,
            "p_holm": 0.01,
            "verdict": "supported",
            "n": 3,
            "clusters": 3,
            "method": "paired t over seeds",
            "detectable": 0.05,
            "correlation": None,
        }
    ]
    made["curves"] = {
        name: {
            str(seed): [
                {
                    "step": step,
                    "flops": step * 1e12,
                    "tokens": step * 4096,
                    "loss": 0.7 * (end + 6 * math.exp(-step / 90) + 2.5 * math.exp(-step / 500)) + rng.normal(0, 0.03),
                    "bits_per_byte": end + 6 * math.exp(-step / 90) + 2.5 * math.exp(-step / 500) + rng.normal(0, 0.01)
                    if step % 100 == 0
                    else None,
                }
                for step in range(0, 2001, 10)
            ]
            for seed in range(3)
        }
        for name, end in names.items()
    }
    return made


def hostile() -> dict[str, Any]:
    """Every string that can come from outside is hostile: outputs, prompts, names, notes, provenance."""
    made = decoding(prompts=3, seeds=1)
    made["examples"] = [
        {
            "id": f"{kind} {text[:40]}",
            "group": text[:60],
            "seed": 0,
            "prompt": text,
            "outputs": {
                "greedy": {
                    "text": text,
                    "spans": [],
                    "values": {"logprob": float("nan"), text[:50]: 1.0},
                    "html": None,
                    "error": text[:300],
                },
                "top_p": {
                    "text": text,
                    "spans": [{"text": text[:20], "kind": "accepted"}, {"text": text[20:], "kind": "</span><b>"}],
                    "values": {},
                    "html": text,
                    "error": "",
                },
            },
        }
        for kind, text in HOSTILE.items()
    ]
    bad = "<b>bad</b>\x00\ud800\u202e" + HOSTILE["script"] + "|`"
    made.update(title=bad, question=bad, command=bad + HOSTILE["closing"])
    made["provenance"][bad] = {"deep": [bad, None, True]}
    made["system"]["name"] = made["task"]["name"] = made["statistics"]["family"] = bad
    made["contenders"][1]["note"] = bad
    made["contenders"][1]["config"] = "y" * 400 + bad
    made["contenders"][1]["failed"] = [{"example": bad, "seed": 0, "type": bad, "message": bad * 3, "count": 2}]
    made["measures"][1]["title"] = bad
    made["measures"][1]["unit"] = bad
    for pair in made["pairs"]:
        pair["method"] = bad
        pair["a"] = "mirostat<i>" + bad if pair["a"] == "beam_search" else pair["a"]
    for contender in made["contenders"]:
        contender["name"] = "mirostat<i>" + bad if contender["name"] == "beam_search" else contender["name"]
    made["contenders"][2]["measures"]["logprob"].update(mean=float("inf"), low=float("nan"))
    return made


def _contender(name: str, n: int, rng: np.random.Generator) -> dict[str, Any]:
    made = {
        "name": name,
        "config": CONFIGS[name],
        "lossless": name in LOSSLESS,
        "baseline": name == "greedy",
        "note": "not applicable, needs truncate" if name == "mirostat" else "",
        "measures": {},
        "by_group": {},
        "spent": {},
        "failed": [],
        "tuned": [],
    }
    if name not in QUALITY:
        return made
    calls, seconds, flops = COST[name]
    spread = lambda x: {"median": x, "total": x * n, "low": x * 0.88, "high": x * 1.17}  # noqa: E731
    same = lambda x: {"median": x, "total": x * n, "low": x, "high": x}  # noqa: E731
    made["spent"] = {
        "new_tokens": same(64),
        "calls": spread(calls) if name == "speculative" else same(calls),
        "seconds": spread(seconds),
        "flops": spread(flops),
        "peak_bytes": same(41e6 + 9e6 * len(name)),
    }
    for index, measure in enumerate(MEASURES):
        mean, half = QUALITY[name][index], (0.14 if index == 0 else 0.06)
        made["measures"][measure["name"]] = {
            "mean": mean,
            "low": mean - half,
            "high": mean + half * 0.9,
            "n": n,
            "clusters": n // 2,
        }
        for kind in PROMPTS:
            made["by_group"].setdefault(kind, {})[measure["name"]] = mean * float(rng.uniform(0.7, 1.3))
    if name == "contrastive_search":
        made["note"] = "1 of 24 failed: BudgetExceeded"
        made["failed"] = [
            {
                "example": "chat-02",
                "seed": 1,
                "type": "BudgetExceeded",
                "message": "contrastive_search spent 70 of 64 new_tokens (+9.4%); the tolerance is 2%",
                "count": 1,
            }
        ]
        made["tuned"] = [
            {"config": f"contrastive_search(k={k}, alpha={a})", "value": -1.0 - 0.1 * k, "chosen": k == 4}
            for k, a in ((4, 0.6), (6, 0.6), (8, 0.4), (10, 0.2))
        ]
    if name == "beam_search":
        made["note"] = "untuned"
    return made


def _example(kind: str, index: int, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    text = WORDS[kind]
    outputs = {}
    for name in QUALITY:
        words = text.split(" ")
        if name not in LOSSLESS:
            rng.shuffle(words)
        mine = " ".join(words)
        spans = []
        if name == "speculative":
            pieces = [mine[i : i + 14] for i in range(0, len(mine), 14)]
            spans = [{"text": piece, "kind": "accepted" if rng.random() < 0.6 else "plain"} for piece in pieces]
        outputs[name] = {
            "text": mine,
            "spans": spans,
            "values": {"logprob": QUALITY[name][0], "repetition": 0.1},
            "html": None,
            "error": "",
        }
    return {"id": f"{kind}-{index:02d}", "group": kind, "seed": seed, "prompt": PROMPTS[kind], "outputs": outputs}


def attribution() -> dict[str, Any]:
    """Explainers side by side on a prompt, each with a fragment as the attribution package makes it."""
    made = decoding(prompts=3, seeds=1)
    names = {"occlusion": 0.31, "integrated_gradients": 0.24, "gradient_times_input": 0.11}
    made.update(
        title="Attribution on tiny",
        kind="attribution",
        question="Which explainer finds the decisive word?",
        baseline="gradient_times_input",
        measures=[{"name": "aopc", "title": "drop when the top tokens go", "higher_is_better": True, "unit": "nats"}],
        budget={"unit": "evaluations", "amount": 64.0, "tolerance": 0.02, "text": "64 evaluations"},
        pairs=[],
        tuning={},
        units={"evaluations": "", "seconds": ""},
    )
    made["contenders"] = [
        {
            "name": name,
            "config": name,
            "lossless": False,
            "note": "",
            "baseline": name == "gradient_times_input",
            "by_group": {},
            "failed": [],
            "tuned": [],
            "measures": {"aopc": {"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 12, "clusters": 12}},
            "spent": {
                "evaluations": {"median": 20.0, "total": 240, "low": 18, "high": 22},
                "seconds": {"median": mean, "total": 9, "low": 0.1, "high": 0.4},
            },
        }
        for name, mean in names.items()
    ]
    made["examples"] = [
        {
            "id": f"item-{i}",
            "group": "decisive word",
            "seed": 0,
            "prompt": "The cat sat on the mat because it was warm",
            "outputs": {
                name: {"text": "", "spans": [], "values": {"aopc": mean}, "html": _fragment(name), "error": ""}
                for name, mean in names.items()
            },
        }
        for i in range(3)
    ]
    return made


def _fragment(name: str) -> str:
    import torch

    from trivium.attribution._page import fragment
    from trivium.core.nouns import Attribution, Target

    class Words:
        vocab_size, bos, eos, pad = 12, None, None, None
        words = ("The", " cat", " sat", " on", " the", " mat", " because", " it", " was", " warm", " and", " dry")

        def encode(self, text):
            raise NotImplementedError

        def decode(self, ids):
            return "".join(self.words[i] for i in ids)

        def bytes_of(self, id):
            return self.words[id].encode()

    scores = torch.linspace(-1.0, 1.0, 10).roll(len(name) % 7)
    return fragment(Attribution(scores, torch.arange(10), Target(10), name, {"completeness gap": 0.01}), Words())
