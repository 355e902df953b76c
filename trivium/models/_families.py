"""Where the parts of a Hugging Face model are: the few names that architectures give to the same thing."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from trivium.core.errors import NotOffered
from trivium.models.sites import Heads, Interleaved, Site, Slice, View

if TYPE_CHECKING:
    from trivium.models.huggingface import HuggingFaceModel


def child(module: nn.Module, *names: str) -> nn.Module | None:
    """The first of these that the module has."""
    found = (getattr(module, name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


@dataclass
class Parts:
    """The ends of a model, its blocks, and a place to see its logits."""

    embedding: nn.Module
    head: nn.Module
    base: nn.Module
    blocks: nn.ModuleList
    norm: nn.Module | None
    first_position: int = 0
    """What the model calls the first position: RoBERTa's kin count from behind the place of the padding token."""
    logits: nn.Module = field(default_factory=nn.Identity)
    """A place to see the logits, after whatever the model does behind its head."""
    embed_tap: nn.Module = field(default_factory=nn.Identity)
    """A place to see the embeddings, whether looked up or given."""

    @classmethod
    def of(cls, hf: PreTrainedModel) -> "Parts":
        head = hf.get_output_embeddings()
        if head is None:
            raise NotOffered(f"{type(hf).__name__} has no language-model head; load it with AutoModelForCausalLM")
        depth = hf.config.get_text_config().num_hidden_layers
        lists = [part for part in hf.modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
        if not lists:
            raise NotOffered(f"{type(hf).__name__} has no list of {depth} layers; only stacks of blocks can be wrapped")
        base = next(part for part in hf.modules() if any(value is lists[0] for value in part.children()))
        norm = child(base, "norm", "ln_f", "final_layer_norm", "norm_f")
        return cls(hf.get_input_embeddings(), head, base, lists[0], norm, first_position(hf))


def first_position(hf: nn.Module) -> int:
    """The number that a model gives to the first position: those of RoBERTa's kin begin behind the padding token."""
    learned = [part for name, part in hf.named_modules() if name.endswith(".position_embeddings")]
    padding = next((part.padding_idx for part in learned if isinstance(part, nn.Embedding)), None)
    return 0 if padding is None else padding + 1


@dataclass(frozen=True)
class Rows:
    """(batch * time, width) seen as (batch, time, width)."""

    model: "HuggingFaceModel"

    def read(self, whole: Tensor) -> Tensor:
        return whole if whole.ndim == 3 else whole.unflatten(0, (self.model.rows, -1))

    def write(self, whole: Tensor, part: Tensor) -> Tensor:
        return part if whole.ndim == 3 else part.flatten(0, 1)

    def share(self, numbers: int) -> int:
        return numbers


def site_table(model: "HuggingFaceModel") -> dict[str, Site]:
    parts = model.parts
    table = {"embed": Site(parts.embed_tap)}
    for index, block in enumerate(parts.blocks):
        for name, site in _block(model, block).items():
            table[f"blocks.{index}.{name}"] = site
        for what in ("scores", "weights"):
            tap = model.taps[f"blocks.{index}.attn.{what}"]
            table[f"blocks.{index}.attn.{what}"] = Site(tap, numbers=getattr(model.config, "num_attention_heads", None))
    if parts.norm is not None:
        table["final.norm"] = Site(parts.norm)
    table["logits"] = Site(parts.logits)
    return table


def branch_ends(block: nn.Module) -> tuple[nn.Module | None, nn.Module | None]:
    """The last matrices of a block's two branches, attention and feed-forward, where they have a known name."""
    attention = child(block, "self_attn", "attn", "attention")
    out = None if attention is None else child(attention, "o_proj", "out_proj", "c_proj", "dense")
    return out, child(child(block, "mlp") or block, "down_proj", "c_proj", "fc2", "dense_4h_to_h")


def _block(model: "HuggingFaceModel", block: nn.Module) -> dict[str, Site]:
    table = {"in": Site(block, "input")}
    config: Any = model.config
    attention = child(block, "self_attn", "attn", "attention")
    feedforward = child(block, "mlp") or block
    pre = getattr(config, "do_layer_norm_before", True)
    sandwich = child(block, "pre_feedforward_layernorm")
    out, last = branch_ends(block)
    if attention is not None:
        norm = child(block, "input_layernorm", "ln_1", "self_attn_layer_norm")
        if norm is not None and pre:
            table["attn.norm"] = Site(norm)
        for letter, place in _projections(config, attention).items():
            table[f"attn.{letter}"] = place
        if out is not None:
            table["attn.z"] = Site(out, "input", Heads(config.num_attention_heads))
            table["attn.out"] = Site(out)
        if sandwich is not None:
            table["attn.out"] = Site(block.get_submodule("post_attention_layernorm"))
    elif (mixer := child(block, "mixer", "mamba")) is not None:  # what mixes along time without attending
        if (norm := child(block, "norm", "input_layernorm")) is not None:
            table["attn.norm"] = Site(norm)
        if (out := child(mixer, "out_proj")) is not None:
            table["attn.z"] = Site(out, "input")
        table["attn.out"] = Site(mixer)
    norm = sandwich or child(block, "post_attention_layernorm", "ln_2", "final_layer_norm")
    flat = Rows(model) if feedforward is block else None
    if norm is not None and pre:
        if not getattr(config, "use_parallel_residual", False):
            table["mid"] = Site(norm, "input", flat, shared=True)
        table["mlp.norm"] = Site(norm, view=flat)
    if last is not None:
        table["mlp.act"] = Site(last, "input", flat)
        table["mlp.out"] = Site(last, view=flat)
    elif feedforward is not block:  # a mixture of experts
        table["mlp.out"] = Site(feedforward)
        router = child(feedforward, "gate", "router")
        experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
        if router is not None and experts:
            linear = isinstance(router, nn.Linear)
            fixed = "" if linear else "the experts are chosen within the same module, before it could be changed"
            table["mlp.router"] = Site(router, view=Rows(model), fixed=fixed, numbers=experts)
    if sandwich is not None:
        table["mlp.out"] = Site(block.get_submodule("post_feedforward_layernorm"))
    table["out"] = Site(block)
    return table


def _projections(config: Any, attention: nn.Module) -> dict[str, Site]:
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    apart = [child(attention, f"{letter}_proj") for letter in "qkv"]
    if all(part is not None for part in apart):
        views: list[View] = [Heads(heads), Heads(groups), Heads(groups)]
        return {
            letter: Site(part, view=view)
            for letter, part, view in zip("qkv", apart, views, strict=True)
            if part is not None
        }
    if (fused := child(attention, "c_attn")) is not None:
        width = config.hidden_size
        return {letter: Site(fused, view=Slice(i * width, (i + 1) * width, heads)) for i, letter in enumerate("qkv")}
    if (fused := child(attention, "query_key_value")) is not None:
        return {letter: Site(fused, view=Interleaved(heads, 3, i)) for i, letter in enumerate("qkv")}
    return {}
