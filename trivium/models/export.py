"""Native models as transformers models: ``AutoModelForCausalLM``, ``generate`` and PEFT accept them.

    from trivium.models.export import register
    register()
    model = AutoModelForCausalLM.from_pretrained(folder)   # a folder that ``trivium.models.saving.save`` wrote

The wrapper holds the native model as it is. Its cache is our ``State`` in the clothes of a transformers ``Cache``, for
softmax and recurrent models alike, so ``generate`` continues from it, reorders it for beams and, where the state
can be truncated, takes tokens back.
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from trivium.core.protocols import State
from trivium.models.saving import build
from trivium.models.skeleton import initialise


@strict
class TriviumConfig(PreTrainedConfig):
    """The ``config.json`` of a native model."""

    model_type = "trivium"
    keys_to_ignore_at_inference = ("past_key_values",)

    recipe: dict | None = None
    vocab_size: int = 256
    hidden_size: int | None = None
    num_hidden_layers: int | None = None
    max_position_embeddings: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None


class StateCache(Cache):
    """A ``State`` where transformers expects a cache. None before the first pass."""

    def __init__(self, state: State | None = None) -> None:
        super().__init__(layers=[])
        self.state = state

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0 if self.state is None else self.state.slots

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self, layer_idx: int | None = None) -> int:
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        if self.state is not None:
            self.state = self.state.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.state is not None:
            self.state = self.state.select(torch.arange(self.state.batch).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """Take back the last tokens, given as a negative number. Raises NotOffered where the memory is a summary."""
        if self.state is not None and tokens_to_remove:
            self.state = self.state.truncate(self.state.lengths - abs(tokens_to_remove))

    def reset(self) -> None:
        self.state = None

    @property
    def is_croppable(self) -> bool:
        return self.state is None or type(self.state).truncate is not State.truncate

    @property
    def batch_size(self) -> int:
        return -1 if self.state is None else self.state.batch


class TriviumForCausalLM(PreTrainedModel, GenerationMixin):
    """A native model behind the interface of transformers."""

    config_class = TriviumConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _tied_weights_keys = {"model.head.weight": "model.embedding.weight"}  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: TriviumConfig) -> None:
        super().__init__(config)
        self.model = build(config.recipe, config.vocab_size, "the configuration")
        self.post_init()

    @classmethod
    def wrap(cls, model: Any) -> "TriviumForCausalLM":
        """A native model in memory, sharing its weights."""
        from trivium.models.saving import configuration

        with torch.device("meta"):
            made = cls(TriviumConfig(**configuration(model)))
        made.model = model
        return made

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One pass. ``attention_mask`` covers cached and new tokens, as transformers gives it, or is 4-D bool."""
        state = None
        if isinstance(past_key_values, StateCache):
            state = past_key_values.state
        elif past_key_values is not None and past_key_values.get_seq_length():
            raise TypeError(
                f"a {type(past_key_values).__name__} holds keys and values of another model; "
                "pass the past_key_values that this model returned"
            )
        given = input_ids if input_ids is not None else inputs_embeds
        mask = attention_mask
        if mask is not None and mask.ndim == 2 and given is not None:
            mask = mask[:, -given.shape[1] :].bool()
        keep = self.config.use_cache and not self.training if use_cache is None else use_cache
        out = self.model(
            input_ids,
            embeds=inputs_embeds,
            mask=mask,
            positions=position_ids,
            state=state,
            keep_state=keep,
            logits_to_keep=logits_to_keep,
        )
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=out.logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        cache = None
        if keep:
            cache = past_key_values if isinstance(past_key_values, StateCache) else StateCache()
            cache.state = out.state
        return CausalLMOutputWithPast(loss=loss, logits=out.logits, past_key_values=cache)

    def _init_weights(self, module: nn.Module) -> None:
        """Initial values, by name and seed, for what was not loaded; transformers calls this for each module."""
        own = {id(p) for p in module.parameters(recurse=False) if not getattr(p, "_is_hf_initialized", False)}
        if own:
            initialise(self.model, 0, keep=lambda parameter: id(parameter) not in own)

    def get_input_embeddings(self) -> nn.Module:
        return self.model.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.embedding = value

    def get_output_embeddings(self) -> nn.Module:
        return self.model.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.model.head = new_embeddings


def register() -> None:
    """Teach transformers the model type "trivium"; more than once does no harm."""
    AutoConfig.register("trivium", TriviumConfig, exist_ok=True)
    AutoModelForCausalLM.register(TriviumConfig, TriviumForCausalLM, exist_ok=True)
