"""Model folders, GGUF files and wheels, small and made on the spot."""

import base64
import hashlib
import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tokenization.made import byte_level

HIDDEN, HEADS, GROUPS, INNER, LAYERS = 64, 4, 2, 96, 2


def llama() -> LlamaForCausalLM:
    vocab = len(byte_level())
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        head_dim=HIDDEN // HEADS,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():  # leave the global generator as it was
        model = LlamaForCausalLM(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.ndim == 1))
    return model.eval()


def folder(path: Path, **save) -> Path:
    """A whole model in Hugging Face's format."""
    llama().save_pretrained(path, **save)
    byte_level().save_pretrained(path)
    return path


def gguf_file(
    path: Path, *, pre: str = "smollm", kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.Q4_1
) -> dict[str, np.ndarray]:
    """Write the same model as GGUF, matrices in blocks of the given kind.

    Returns what the blocks hold, in float32, under the names of transformers.
    """
    weights = {name: tensor.detach().numpy() for name, tensor in llama().named_parameters()}
    tokenizer = byte_level()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_token_list(pieces)
    writer.add_token_types([3 if id < 3 else 1 for id in range(len(pieces))])
    merges = _merges(tokenizer)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.add_add_bos_token(False)
    held = {}
    for name, weight in weights.items():
        if weight.ndim == 1:
            writer.add_tensor(_gguf_name(name), weight)
            held[name] = weight
            continue
        blocks = gguf.quants.quantize(_interleave(name, weight), kind)
        writer.add_tensor(_gguf_name(name), blocks, raw_dtype=kind)
        held[name] = _interleave(name, gguf.quants.dequantize(blocks, kind), back=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held


def _merges(tokenizer) -> list[str]:
    return [" ".join(pair) for pair in json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]]


def _gguf_name(name: str) -> str:
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers": "blk",
    }  # fmt: skip
    for theirs, ours in parts.items():
        name = name.replace(theirs, ours)
    return name


def _interleave(name: str, weight: np.ndarray, *, back: bool = False) -> np.ndarray:
    """GGUF's Llama keeps the two halves of a head's coordinates interleaved; ``back`` undoes it."""
    heads = HEADS if "q_proj" in name else GROUPS if "k_proj" in name else 0
    if not heads:
        return weight
    half = weight.shape[0] // heads // 2
    shape = (heads, half, 2, weight.shape[1]) if back else (heads, 2, half, weight.shape[1])
    return np.ascontiguousarray(weight.reshape(shape).swapaxes(1, 2).reshape(weight.shape))


def wheel(where: Path, project: str, version: str, members: dict[str, bytes]) -> str:
    """A wheel of these members; returns its SHA-256."""
    where.mkdir(parents=True, exist_ok=True)
    name = project.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    members = members | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [
        f"{member},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for member, data in members.items()
    ]
    members[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]).encode() + b"\n"
    path = where / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return hashlib.sha256(path.read_bytes()).hexdigest()
