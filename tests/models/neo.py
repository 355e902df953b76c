"""The random GPT-Neo of the conformance vectors as a native model: its scores are not divided by the root of the width
of a head, so the queries are multiplied by it."""

from pathlib import Path

import numpy as np
import torch

from trivium.architectures.gpt import GPT

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "observable_propagation.npz"
WIDTH, HEADS, DEPTH = 24, 4, 3


def arrays():
    held = np.load(VECTORS)
    return {name: torch.from_numpy(held[name]) for name in held.files}


def model(held):
    recipe = GPT(width=WIDTH, depth=DEPTH, heads=HEADS, hidden=48, window=None, eps=1e-5, context=32)
    made = recipe.build(61).eval()
    state = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    state |= {
        "embedding.weight": held["param/transformer.wte.weight"],
        "head.weight": held["param/transformer.wte.weight"],
        "position.table.weight": held["param/transformer.wpe.weight"],
        "norm.gain": held["param/transformer.ln_f.weight"],
        "norm.bias": held["param/transformer.ln_f.bias"],
    }
    for layer in range(DEPTH):
        theirs, ours = f"param/transformer.h.{layer}.", f"blocks.{layer}."
        for norm, name in (("ln_1", "mixer_norm"), ("ln_2", "channel_norm")):
            state[f"{ours}{name}.gain"] = held[f"{theirs}{norm}.weight"]
            state[f"{ours}{name}.bias"] = held[f"{theirs}{norm}.bias"]
        for letter in "qkv":
            scale = (WIDTH // HEADS) ** 0.5 if letter == "q" else 1.0
            state[f"{ours}mixer.{letter}_proj.weight"] = scale * held[f"{theirs}attn.attention.{letter}_proj.weight"]
        for kind in ("weight", "bias"):
            state[f"{ours}mixer.o_proj.{kind}"] = held[f"{theirs}attn.attention.out_proj.{kind}"]
            state[f"{ours}channel.up_proj.{kind}"] = held[f"{theirs}mlp.c_fc.{kind}"]
            state[f"{ours}channel.down_proj.{kind}"] = held[f"{theirs}mlp.c_proj.{kind}"]
    made.load_state_dict({name: value for name, value in state.items() if name in made.state_dict()})
    return made.double()
