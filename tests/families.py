"""Tiny random models, one per family that the Hugging Face adapter is tested on."""

from typing import Any

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from trivium.models.huggingface import HuggingFaceModel, wrap

VOCAB, WIDTH, CONTEXT = 64, 32, 128

_COMMON: dict[str, Any] = dict(vocab_size=VOCAB, hidden_size=WIDTH, bos_token_id=1, eos_token_id=2, pad_token_id=0)
_GROUPED: dict[str, Any] = dict(
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    max_position_embeddings=CONTEXT,
)
_BUILDERS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "gpt2": (
        GPT2Config,
        GPT2LMHeadModel,
        dict(vocab_size=VOCAB, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=CONTEXT, bos_token_id=1, eos_token_id=2),
    ),
    "llama": (LlamaConfig, LlamaForCausalLM, _COMMON | _GROUPED),
    "qwen": (Qwen3Config, Qwen3ForCausalLM, _COMMON | _GROUPED),
    "gemma": (  # three layers, of which two see a window of 6 tokens only
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        _COMMON
        | _GROUPED
        | dict(
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            query_pre_attn_scalar=8,
        ),
    ),
    "gpt_neox": (
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        _COMMON
        | dict(num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=CONTEXT),
    ),
    "opt": (
        OPTConfig,
        OPTForCausalLM,
        _COMMON
        | dict(
            num_hidden_layers=2,
            num_attention_heads=4,
            ffn_dim=64,
            max_position_embeddings=CONTEXT,
            word_embed_proj_dim=WIDTH,
        ),
    ),
    "mamba": (
        MambaConfig,
        MambaForCausalLM,
        _COMMON | dict(num_hidden_layers=2, state_size=4, conv_kernel=3, expand=2, time_step_rank=4),
    ),
}

FAMILIES = tuple(_BUILDERS)
_BUILDERS |= {
    "mixtral": (
        MixtralConfig,
        MixtralForCausalLM,
        _COMMON | _GROUPED | dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    ),
    "qwen_moe": (  # whose middle layer is dense
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
        _COMMON | _GROUPED | dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, mlp_only_layers=[1]),
    ),
}
EXPERT_FAMILIES = ("mixtral", "qwen_moe")
"""Mixtures of experts, for what is special about them."""
ATTENTION_FAMILIES = tuple(family for family in FAMILIES if family != "mamba")


def build(family: str, dtype: torch.dtype = torch.float64, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A random model of the family. Weights are larger than the usual start, so that attention and positions matter;
    the global generator is left as it was."""
    config_class, model_class, settings = _BUILDERS[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**settings | overrides))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 2 + ("experts" in name) and not name.endswith("A_log"):
                    parameter.normal_(0.0, 3.0 / max(parameter.shape[-2:]) ** 0.5)
                elif "norm" in name or "ln_" in name or name.endswith("bias"):
                    parameter.add_(0.1 * torch.randn_like(parameter))
    if family in EXPERT_FAMILIES and dtype == torch.float64:
        model.set_experts_implementation("eager")  # the grouped product knows no float64
    return model.to(dtype).eval()


def wrapped(
    family: str, dtype: torch.dtype = torch.float64, seed: int = 0, *, compile: bool = False, **overrides: Any
) -> HuggingFaceModel:
    """``build``, behind the adapter."""
    return wrap(build(family, dtype, seed, **overrides), compile=compile)
