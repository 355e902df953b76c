"""Dictionaries in the files of SAE-Lens: by slow formulas, at our sites, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tests.families import wrapped
from trivium.core.errors import BrokenModel, NotOffered
from trivium.models.dictionaries import NEEDED, PLACES, load_dictionary, site_of

WIDTH, FEATURES = 32, 50
IDS = torch.tensor([[7, 3, 11, 3, 2, 12, 5, 1]])


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(folder, architecture="standard", hook="blocks.1.hook_resid_post", without=(), **settings):
    names = ("W_enc", "W_dec", "b_dec", *NEEDED.get(architecture, ("b_enc",)))
    shapes = {"W_enc": (WIDTH, FEATURES), "W_dec": (FEATURES, WIDTH), "b_dec": (WIDTH,)}
    tensors = {name: 0.3 * rand(*shapes.get(name, (FEATURES,)), seed=at) for at, name in enumerate(names)}
    config = {"architecture": architecture, "d_in": WIDTH, "d_sae": FEATURES}
    config |= {"metadata": {"hook_name": hook, "model_name": "made"}} | settings
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor for name, tensor in tensors.items() if name not in without}, folder / "sae_weights.safetensors"
    )
    (folder / "cfg.json").write_text(json.dumps(config))
    return tensors


def slow(architecture, t, x, k=3):
    """One vector, one feature at a time."""
    x = x - t["b_dec"]
    found = []
    for m in range(FEATURES):
        dot = sum(float(x[i] * t["W_enc"][i, m]) for i in range(WIDTH))
        if architecture == "gated":
            open_ = dot + float(t["b_gate"][m]) > 0
            found.append(max(dot * float(t["r_mag"][m].exp()) + float(t["b_mag"][m]), 0.0) if open_ else 0.0)
            continue
        before = dot + float(t["b_enc"][m])
        if architecture == "jumprelu":
            found.append(max(before, 0.0) if before > float(t["threshold"][m]) else 0.0)
        else:
            found.append(before)
    if architecture == "topk":
        least = sorted(found)[-k]
        found = [value if value >= least else 0.0 for value in found]
    return torch.tensor([max(value, 0.0) for value in found])


@pytest.mark.parametrize("architecture", NEEDED)
def test_features_are_those_of_a_slow_loop(tmp_path, architecture):
    tensors = saved(tmp_path / "d", architecture, k=3)
    found = load_dictionary(tmp_path / "d")
    assert (found.width, found.features, found.model) == (WIDTH, FEATURES, "made")
    x = rand(2, 3, WIDTH, seed=9)
    c = found.encode(x)
    assert c.shape == (2, 3, FEATURES)
    torch.testing.assert_close(c[1, 2], slow(architecture, tensors, x[1, 2]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.decode(c)[1, 2], c[1, 2] @ tensors["W_dec"] + tensors["b_dec"])
    assert 0 < (c > 0).double().mean() < 1


def test_it_reads_our_sites_and_can_stand_in_for_them(tmp_path):
    model = wrapped("llama", torch.float32)
    for hook in ("blocks.1.hook_resid_post", "blocks.2.attn.hook_z", "blocks.0.hook_mlp_out"):
        saved(tmp_path / "d", hook=hook)
        found = load_dictionary(tmp_path / "d")
        with torch.no_grad(), model.capture(found.site) as seen:
            plain = model(IDS).logits
        x = seen[found.site]
        c = found.encode(x)
        assert c.shape == (1, 8, FEATURES)
        assert found.decode(c, x).shape == x.shape
        with torch.no_grad(), model.edit({found.site: lambda x, d=found: d.decode(d.encode(x), x)}):
            assert not torch.allclose(model(IDS).logits, plain)


def test_what_was_taken_off_is_put_back(tmp_path):
    x = rand(4, WIDTH, seed=3) * 5 + 2
    plain = saved(tmp_path / "d", apply_b_dec_to_input=False)
    found = load_dictionary(tmp_path / "d")
    torch.testing.assert_close(found.encode(x), (x @ plain["W_enc"] + plain["b_enc"]).relu())
    saved(tmp_path / "d", normalize_activations="constant_norm_rescale")
    found = load_dictionary(tmp_path / "d")
    size = x.norm(dim=-1, keepdim=True) / WIDTH**0.5
    expected = ((x / size - plain["b_dec"]) @ plain["W_enc"] + plain["b_enc"]).relu()
    torch.testing.assert_close(found.encode(x), expected)
    made = found.decode(expected, x)
    torch.testing.assert_close(made, (expected @ plain["W_dec"] + plain["b_dec"]) * size)
    with pytest.raises(ValueError, match="give the activations that were encoded"):
        found.decode(expected)
    saved(tmp_path / "d", normalize_activations="layer_norm")
    found = load_dictionary(tmp_path / "d")
    flat = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
    torch.testing.assert_close(found.encode(x), ((flat - plain["b_dec"]) @ plain["W_enc"] + plain["b_enc"]).relu())
    saved(tmp_path / "d")
    centred = load_dictionary(tmp_path / "d", centred=True)
    torch.testing.assert_close(centred.encode(x), centred.encode(x + 7), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        centred.decode(centred.encode(x), x + 7), centred.decode(centred.encode(x), x) + 7, atol=1e-4, rtol=1e-4
    )


def test_older_files_are_read(tmp_path):
    tensors = saved(tmp_path / "d")
    config = {"hook_point": "blocks.0.hook_resid_pre", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4}}
    (tmp_path / "d" / "cfg.json").write_text(json.dumps(config))
    found = load_dictionary(tmp_path / "d", dtype=torch.float64)
    assert (found.architecture, found.k, found.site) == ("topk", 4, "blocks.0.in")
    x = rand(WIDTH, seed=5).double()
    torch.testing.assert_close(found.encode(x), slow("topk", tensors, x, k=4).double(), atol=1e-5, rtol=1e-5)


def test_places_have_our_names():
    assert site_of("blocks.8.hook_resid_pre") == "blocks.8.in"
    assert site_of("blocks.10.attn.hook_z") == "blocks.10.attn.z"
    assert site_of("hook_embed") == "embed"
    there = set(wrapped("llama").sites())
    assert {site_of(f"blocks.0.{place}") for place in PLACES if place != "hook_embed"} <= there
    for hook in ("blocks.0.ln1.hook_normalized", "hook_resid_pre", "blocks.0.hook_embed", ""):
        with pytest.raises(NotOffered, match="has no site here"):
            site_of(hook)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"architecture": "temporal"}, NotOffered, "a 'temporal' dictionary; known are standard"),
        ({"without": ("b_enc",)}, BrokenModel, "has no 'b_enc'"),
        ({"normalize_activations": "expected_average_only_in"}, NotOffered, "fold it into the weights"),
        ({"rescale_acts_by_decoder_norm": True}, NotOffered, "rescale_acts_by_decoder_norm"),
        ({"activation_fn": "tanh-relu"}, NotOffered, "the activation 'tanh-relu'"),
        ({"architecture": "topk", "k": 51}, BrokenModel, "gives k = 51, and there are 50 features"),
        ({"hook": "blocks.0.hook_scale"}, NotOffered, "has no site here"),
    ],
)
def test_what_is_not_known_is_refused(tmp_path, settings, error, message):
    saved(tmp_path / "d", **settings)
    with pytest.raises(error, match=message):
        load_dictionary(tmp_path / "d")


def test_broken_folders_are_named(tmp_path):
    with pytest.raises(BrokenModel, match=r"it has no cfg\.json"):
        load_dictionary(tmp_path)
    saved(tmp_path / "d")
    (tmp_path / "d" / "cfg.json").write_text("{")
    with pytest.raises(BrokenModel, match="cannot be read"):
        load_dictionary(tmp_path / "d")
    tensors = saved(tmp_path / "d")
    save_file(tensors | {"W_dec": rand(3, 4)}, tmp_path / "d" / "sae_weights.safetensors")
    with pytest.raises(BrokenModel, match=r"W_dec is \(3, 4\) and must be \(50, 32\)"):
        load_dictionary(tmp_path / "d")
    saved(tmp_path / "d")
    with pytest.raises(ValueError, match="reads a width of 32"):
        load_dictionary(tmp_path / "d").encode(rand(2, 31))
