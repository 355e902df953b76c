"""PEFT adapters by MODEL+ADAPTER: scores of merged weights, and a refusal of what does not belong or does nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTuner
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.models import made
from trivium.architectures.llama import Llama
from trivium.core.errors import BrokenModel, NotOffered, UnknownName
from trivium.models.answers import AnswerCache
from trivium.models.export import TriviumForCausalLM
from trivium.models.saving import restore, save
from trivium.models.scoring import Request, score
from trivium.models.sources import load
from trivium.tokenization.byte import ByteTokenizer

REQUESTS = [Request("the cat", " sat on"), Request("the dog", " sat"), Request("", "the mat")]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return made.folder(tmp_path_factory.mktemp("base") / "model")


def lora(model, folder, *, trained=True, **settings):
    """An adapter as PEFT saves it, with weights as if it were trained."""
    settings = {"target_modules": ["q_proj", "down_proj"], "r": 4, "lora_alpha": 8} | settings
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        if trained:
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(folder)
    return adapted.eval()


@pytest.fixture
def adapter(base, tmp_path) -> Path:
    lora(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter")
    return tmp_path / "adapter"


def by_hand(adapted, system, request):
    """Of the adapted model itself, unmerged."""
    whole = system.tokenizer.encode(request.context + request.continuation)
    before = system.tokenizer.encode(request.context) or [system.tokenizer.bos]
    whole = whole if request.context else [*before, *whole]
    with torch.no_grad():
        logp = adapted(torch.tensor([whole])).logits[0].log_softmax(-1)
    return [float(logp[at - 1, whole[at]]) for at in range(len(before), len(whole))]


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"target_modules": "all-linear", "use_rslora": True}])
def test_scores_are_those_of_the_adapted_model(base, tmp_path, settings):
    adapted = lora(AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter", **settings)
    system, plain = load(f"{base}+{tmp_path / 'adapter'}"), load(base)
    for request, one, without in zip(REQUESTS, score(system, REQUESTS), score(plain, REQUESTS), strict=True):
        assert list(one.logprobs) == pytest.approx(by_hand(adapted, system, request), abs=1e-4)
        assert list(one.logprobs) != pytest.approx(without.logprobs, abs=5e-4)


def test_merged_weights_are_what_they_are_by_hand(base, adapter):
    given = load_file(adapter / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_{}.weight"
    change = 8 / 4 * given[name.format("B")] @ given[name.format("A")]
    plain = AutoModelForCausalLM.from_pretrained(base).model.layers[0].self_attn.q_proj.weight
    found = load(f"{base}+{adapter}").model.inner.model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(found, plain + change)


def test_a_native_model_takes_one_too(tmp_path):
    save(Llama(width=16, heads=2, context=64).build(259), tmp_path / "native", ByteTokenizer())
    adapted = lora(TriviumForCausalLM.wrap(restore(tmp_path / "native")), tmp_path / "on", target_modules="all-linear")
    system = load(f"{tmp_path / 'native'}+{tmp_path / 'on'}")
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(system.model(ids).logits, adapted(ids).logits, atol=1e-5, rtol=1e-4)


def test_number_formats(base, adapter):
    """Merged in float32 and rounded after that, so that no change is lost in rounding before."""
    wide, narrow = load(f"{base}+{adapter}"), load(f"{base}+{adapter}", dtype="bfloat16")
    for one, other in zip(wide.model.parameters(), narrow.model.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)
    assert load(f"{base}+{adapter}", dtype="int8").precision == "int8"


def test_it_is_part_of_the_fingerprint(base, adapter, tmp_path):
    first, plain = load(f"{base}+{adapter}"), load(base)
    assert first.fingerprint != plain.fingerprint
    assert first.fingerprint == load(f"{base}+{adapter}").fingerprint
    one, other = AnswerCache(tmp_path, first), AnswerCache(tmp_path, plain)
    assert one.path != other.path
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 9}))
    assert load(f"{base}+{adapter}").fingerprint != first.fingerprint


def test_the_global_seed_is_left_alone(base, adapter):
    state = torch.get_rng_state()
    load(f"{base}+{adapter}")
    assert torch.equal(torch.get_rng_state(), state)


# Whose it is ----------------------------------------------------------------------------------------------------------


def said_base(adapter, name):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": name}))


def test_an_adapter_of_other_weights_is_refused(base, adapter, tmp_path):
    other = Path(shutil.copytree(base, tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    weights["model.norm.weight"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BrokenModel, match=r"was trained on .*base.*, and this is another model, .*other"):
        load(f"{other}+{adapter}")
    said_base(adapter, str(other))
    with pytest.raises(BrokenModel, match="was trained on"):
        load(f"{base}+{adapter}")
    same = shutil.copytree(base, tmp_path / "the same")
    said_base(adapter, str(same))
    load(f"{base}+{adapter}")


def test_a_base_that_is_not_here_is_known_by_its_name(base, adapter):
    said_base(adapter, "someone/elses-model")
    with pytest.raises(BrokenModel, match="as base_model_name_or_path into"):
        load(f"{base}+{adapter}")
    for name in ("someone/model", "Model", "", None):
        said_base(adapter, name)
        load(f"{base}+{adapter}")


def test_an_adapter_of_another_size_is_refused(base, tmp_path):
    save(Llama(width=16, heads=2, context=64).build(259), tmp_path / "native", ByteTokenizer())
    lora(TriviumForCausalLM.wrap(restore(tmp_path / "native")), tmp_path / "on", target_modules="all-linear")
    with pytest.raises(BrokenModel, match="does not fit this model"):
        load(f"{base}+{tmp_path / 'on'}")


# What it does ---------------------------------------------------------------------------------------------------------


def test_an_adapter_that_changes_nothing_is_refused(base, tmp_path):
    lora(AutoModelForCausalLM.from_pretrained(base), tmp_path / "fresh", trained=False)
    with pytest.raises(BrokenModel, match="changes nothing: what it says is what its base says"):
        load(f"{base}+{tmp_path / 'fresh'}")


def test_an_adapter_that_lacks_weights_is_refused(base, adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    name = sorted(weights)[0]
    for change, said in (
        ({name: None}, f"lacks, or has too much, {name}"),
        ({"base_model.model.more": torch.zeros(1)}, "lacks, or has too much, base_model.model.more"),
        ({name: torch.zeros(3, 3)}, "does not fit this model"),
        ({name: weights[name] * float("nan")}, "has weights that are not finite"),
    ):
        save_file({k: v for k, v in (weights | change).items() if v is not None}, adapter / "adapter_model.safetensors")
        with pytest.raises(BrokenModel, match=said):
            load(f"{base}+{adapter}")


def test_a_learned_prompt_cannot_be_merged(base, tmp_path):
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with torch.random.fork_rng():
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    adapted.save_pretrained(tmp_path / "prompt")
    with pytest.raises(NotOffered, match="is a learned prompt"):
        load(f"{base}+{tmp_path / 'prompt'}")


def test_a_merge_that_changes_the_model_is_found_out(base, adapter, monkeypatch):
    merge = BaseTuner.merge_and_unload

    def wrong(self, *args, **given):
        whole = merge(self, *args, **given)
        with torch.no_grad():
            whole.model.layers[0].mlp.down_proj.weight[0, 0] += 1
        return whole

    monkeypatch.setattr(BaseTuner, "merge_and_unload", wrong)
    with pytest.raises(NotOffered, match="cannot be merged: logits then differ by"):
        load(f"{base}+{adapter}")


# Names ----------------------------------------------------------------------------------------------------------------


def test_what_is_no_adapter_is_named(base, adapter, tmp_path):
    with pytest.raises(UnknownName, match=r"no adapter folder '\./nowhere' exists"):
        load(f"{base}+./nowhere")
    with pytest.raises(UnknownName, match="of which one is missing"):
        load(f"{base}+")
    with pytest.raises(BrokenModel, match=r"is no adapter: it has no adapter_config.json"):
        load(f"{base}+{tmp_path}")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(BrokenModel, match="only a pickle, which is never read"):
        load(f"{base}+{adapter}")
    (adapter / "adapter_config.json").write_text("[")
    with pytest.raises(BrokenModel, match="is no valid JSON object"):
        load(f"{base}+{adapter}")


def test_a_plus_may_be_part_of_a_name(base, tmp_path):
    shutil.copytree(base, tmp_path / "one+two")
    assert load(tmp_path / "one+two").name == "one+two"
