import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import BrokenModel
from trivium.models.saving import restore, save
from trivium.tokenization.byte import ByteTokenizer

RECIPES = [Llama(kv_heads=2, tied=True), Llama(tied=False), TransNormer(lrpe_layers=(0, 1), decay="linear")]


def ids():
    return torch.randint(31, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    save(Llama(width=16, heads=2).build(31, seed=3), tmp_path)
    return tmp_path


def change(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_model_comes_back_as_it_was(recipe, dtype, tmp_path):
    model = recipe.build(31, seed=3).to(dtype).eval()
    save(model, tmp_path)
    again = restore(tmp_path)
    assert (again.recipe, again.dtype, again.training) == (recipe, dtype, False)
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    assert (again.head.weight is again.embedding.weight) == recipe.tied


def test_shared_tensors_are_written_once(tmp_path):
    save(Llama(tied=True).build(31), tmp_path)
    assert "head.weight" not in load_file(tmp_path / "model.safetensors")


def test_a_tokenizer_goes_with_it(tmp_path):
    save(Llama().build(ByteTokenizer().vocab_size), tmp_path, ByteTokenizer())
    from trivium.models.sources import load

    system = load(tmp_path)
    assert system.tokenizer.encode("a") == ByteTokenizer().encode("a")
    assert json.loads((tmp_path / "config.json").read_text())["eos_token_id"] == ByteTokenizer().eos


def test_saving_over_a_model_leaves_one_of_the_two_when_it_fails(folder, monkeypatch):
    before = restore(folder)(ids()).logits

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trivium.models.saving.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save(Llama(width=16, heads=2).build(31, seed=4), folder)
    assert torch.equal(restore(folder)(ids()).logits, before)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_recipe_of_ones_own_cannot_be_saved(tmp_path):
    model = Llama().build(31)
    model.recipe = object()
    with pytest.raises(ValueError, match="no one could find it again"):
        save(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BrokenModel, match=f"{name} is missing"):
        restore(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_told(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BrokenModel, match=r"model\.safetensors is truncated or damaged"):
        restore(folder)


def test_a_header_beyond_the_file_is_told(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}")
    with pytest.raises(BrokenModel, match="truncated or damaged"):
        restore(folder)


def test_missing_foreign_and_misshapen_tensors_are_named(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "blocks.1.mixer.q_proj.weight"
    save_file({k: v for k, v in tensors.items() if k != name}, path)
    with pytest.raises(BrokenModel, match=rf"lacks the tensor '{name}' of shape \(16, 16\)"):
        restore(folder)
    save_file(tensors | {"blocks.1.mixer.r_proj.weight": torch.zeros(1)}, path)
    with pytest.raises(
        BrokenModel, match=r"'blocks.1.mixer.r_proj.weight' that this recipe has no place for; did you mean"
    ):
        restore(folder)
    save_file(tensors | {name: torch.zeros(16, 8)}, path)
    with pytest.raises(BrokenModel, match=rf"'{name}' is \(16, 8\), the recipe wants \(16, 16\)"):
        restore(folder)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"recipe": {"method": "architectures/llama", "widht": 16}},
            "llama has no field 'widht'; did you mean 'width'",
        ),
        ({"recipe": {"method": "architectures/lama"}}, "did you mean 'llama'"),
        ({"recipe": {"method": "decoding/greedy"}}, "is no architecture"),
        ({"recipe": {"method": "architectures/llama", "heads": 3}}, "even number"),
        ({"recipe": {"method": "architectures/llama", "heads": "3"}}, "config.json"),
        ({"recipe": None}, "has no recipe"),
        ({"vocab_size": 0}, "vocab_size must be a positive whole number"),
        ({"dtype": "float31"}, "no dtype is called 'float31'"),
        ({"model_type": "gpt2"}, "describes 'gpt2', not a native model"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told(folder, fields, told):
    change(folder, **fields)
    with pytest.raises(BrokenModel, match=told):
        restore(folder)


def test_a_configuration_cut_short_is_told(folder):
    path = folder / "config.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(BrokenModel, match=r"config\.json is no valid JSON"):
        restore(folder)


def test_fields_left_out_take_their_defaults(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["recipe"]["eps"]
    (folder / "config.json").write_text(json.dumps(config))
    assert restore(folder).recipe.eps == Llama().eps
