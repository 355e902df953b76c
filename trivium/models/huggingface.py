"""The one adapter that makes any Hugging Face causal language model a ``LanguageModel``.

The model runs unchanged. The adapter adds bookkeeping: it always passes explicit positions, builds the masks wherever
plain causal attention is not what is meant, and hands the model a cache that writes into our own buffers. What a model
really honours is found out when it is wrapped, by a few tiny passes; what fails is not offered, and ``refused`` says
why.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trivium.core import meter
from trivium.core.capabilities import known
from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models._attention import additive, allowed, attention_shown, grouping, positions_within, windows, within
from trivium.models._cache import Writer
from trivium.models._compiled import CompiledStep
from trivium.models._families import Parts, site_table
from trivium.models._int8 import Int8Linear, quantised
from trivium.models._packed import Packed, layers_of, operator, room_for
from trivium.models._recurrent import recur
from trivium.models._selfcheck import examine
from trivium.models._upcast import Upcast
from trivium.models.sites import Site, Sited
from trivium.models.state import Buffers, KeyValueState, Stored, Stretch, capacity_for

log = logging.getLogger(__name__)


def wrap(hf: PreTrainedModel, *, compile: bool = False) -> "HuggingFaceModel":
    """A Hugging Face causal language model as a ``LanguageModel``, examined.

    ``compile``: passes of at most 32 new tokens that go on from a state, without gradients or hooks, run compiled, one
    compilation per batch size, width and capacity; everything else (prompts, training, attribution) runs as it is.
    On processors with bfloat16 instructions the linear weights of a bfloat16 model are then held a second time, in the
    layout of their products; a weight that is changed in place through ``.data`` would go unnoticed there.

    Raises NotOffered for a model without a language-model head or a list of blocks, NotFinite for damaged weights.
    """
    model = HuggingFaceModel(hf)
    model.offers, model.refused = examine(model)
    for word, reason in model.refused.items():
        log.info("%s does not offer %r: %s", type(hf).__name__, word, reason)
    if compile:
        model.compile_steps()
    return model


class HuggingFaceModel(Sited, LanguageModel):
    """A Hugging Face causal language model; ``inner`` is the model itself, ``refused`` says per word of the
    capabilities why it is not offered."""

    def __init__(self, hf: PreTrainedModel) -> None:
        super().__init__()
        self.inner = hf
        self.config: Any = hf.config.get_text_config()
        self.parts = Parts.of(hf)
        head = self.parts.head
        self.vocab_size = head.out_features if isinstance(head, Int8Linear) else _rows(head).shape[0]
        self.width = _rows(self.parts.embedding).shape[1]
        self.depth = len(self.parts.blocks)
        accepted = inspect.signature(hf.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.keeps_logits = "logits_to_keep" in accepted
        self.cache_name = next((name for name in ("past_key_values", "cache_params") if name in accepted), None)
        kinds = set(getattr(self.config, "layer_types", None) or ())
        self.recurrent = self.cache_name == "cache_params" or bool(kinds - {"full_attention", "sliding_attention"})
        self.windows = windows(self.config)
        heads = getattr(self.config, "num_attention_heads", None)
        self.shares_keys = getattr(self.config, "num_key_value_heads", heads) not in (heads, None)
        self.first_position = self.parts.first_position
        longest = getattr(self.config, "max_position_embeddings", None)
        self.max_positions = None if self.recurrent or longest is None else longest - self.first_position
        self.taps = {
            f"blocks.{layer}.attn.{what}": nn.Identity()
            for layer in range(self.depth)
            for what in ("scores", "weights")
        }
        self.offers = known(())
        self.refused: dict[str, str] = {}
        self.split = False
        """Whether the head applied to the base model's output is exactly the model (found out when examined)."""
        self.compiled: CompiledStep | None = None
        self.upcast: Upcast | Packed = Upcast(hf)
        operator()  # before a pass is counted, for the counter learns of operators when it begins
        self.packed: Packed | None = None
        """Weights in the layout of their products: in float32 from the first pass in inference mode on."""
        self.quantised = quantised(hf)
        self.rows = 0
        self.eval()

    def embed(self, ids: Tensor) -> Tensor:
        return self.parts.embedding(ids)

    @property
    def precision(self) -> str:
        return "int8" if self.quantised else super().precision

    @property
    def dtype(self) -> torch.dtype:
        return _rows(self.parts.embedding).dtype

    def compile_steps(self) -> None:
        """Run short passes that go on from a state compiled from now on."""
        for word in ("state", "tree"):
            if word not in self.offers:
                raise NotOffered(f"a compiled step needs {word!r}, which this model lacks: {self.refused.get(word)}")
        if not self.split:
            raise NotOffered("a compiled step needs a model whose logits are its head applied to its last hidden state")
        packed = self.packed = self._packed()
        self.upcast = packed if packed.layers else self.upcast
        self.compiled = CompiledStep(self)

    @property
    def products(self) -> Upcast | Packed:
        """How products with the weights are made. In float32 and inference mode from a second copy of the weights, in
        the layout of the products, where a multiple of it is free in memory; made anew where a weight has changed."""
        if self.dtype != torch.float32 or not torch.is_inference_mode_enabled():
            return self.upcast
        if self.packed is None or self.packed.stale:
            self.packed = self._packed()
        return self.packed if self.packed.layers else self.upcast

    def _packed(self) -> Packed:
        """The weights a second time; of none where that does not help or does not fit."""
        layers = layers_of(self.inner, self.dtype)
        return Packed(layers if room_for(layers) else (), self.dtype)

    # --- sites --------------------------------------------------------------------------------------------------

    def site_table(self) -> Mapping[str, Site]:
        hidden = tuple("." + word.removeprefix("site ") for word in self.refused if word.startswith("site "))
        if "attention" in self.refused:
            hidden += (".attn.scores", ".attn.weights")
        if "sites" in self.refused:
            return {}
        return {name: site for name, site in site_table(self).items() if not f".{name}".endswith(hidden)}

    def absent(self, name: str) -> str:
        if name.endswith((".attn.scores", ".attn.weights")) and "attention" in self.refused:
            return self.refused["attention"]
        words = (word for word in self.refused if word.startswith("site "))
        return next((self.refused[w] for w in words if f".{name}".endswith("." + w.removeprefix("site "))), "")

    def watching(self, names: tuple[str, ...]) -> AbstractContextManager[None]:
        if any(name in self.taps for name in names):
            return attention_shown(self.inner, f"trivium_{self.serial}", self.taps)
        return nullcontext()

    # --- one pass -----------------------------------------------------------------------------------------------

    def run(
        self,
        ids: Tensor | None,
        *,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> LMOutput:
        given = ids if ids is not None else embeds
        assert given is not None
        check_shapes(given, mask, positions, segments, state)
        if (state is not None or keep_state) and "state" in self.refused:
            raise NotOffered(f"this model keeps no state: {self.refused['state']}")
        if mask is not None and mask.ndim == 4 and "tree" in self.refused:
            raise NotOffered(f"a 4-D mask needs 'tree', which this model lacks: {self.refused['tree']}")
        self.rows = given.shape[0]
        if self.watched:  # the site 'embed' is passed whether embeddings are looked up or given
            ids, embeds = None, self.parts.embed_tap(embeds if ids is None else self.embed(ids))
        if self.recurrent:
            with bypassed([self.parts.blocks[layer] for layer in self.skipped]):
                return recur(self, ids, embeds, mask, positions, segments, state, keep_state, logits_to_keep)
        if state is not None and not isinstance(state, KeyValueState):
            raise TypeError(f"this model goes on from its own KeyValueState, not from a {type(state).__name__}")
        mask = self.needed(mask)
        where = self.positions(given, mask, segments, state) if positions is None else positions
        compiled = self.compiled
        if (
            compiled is not None
            and ids is not None
            and state is not None
            and compiled.fits(given.shape[1])
            and not (self.watched or self.skipped or torch.is_grad_enabled() or meter.counting())
        ):
            return compiled(ids, mask, where, state, keep_state, logits_to_keep, explicit=positions is not None)
        slots = 0 if state is None else state.slots
        arguments = self.arguments(given, mask, segments, state, where, explicit=positions is not None)
        arguments |= {"input_ids": ids, "inputs_embeds": embeds}
        buffers = None
        if state is not None or keep_state:
            buffers = Buffers(capacity_for(given.shape[1])) if state is None else state.room(given.shape[1])
            buffers.skip(self.skipped, slots)
            arguments |= {"past_key_values": Writer(buffers, slots), "use_cache": True}
        passed_over = [self.parts.blocks[layer] for layer in self.skipped]
        grouped = self.groups(slots) and arguments["attention_mask"] is not None
        with (
            self.products.over(given.shape[0] * given.shape[1]),
            bypassed(passed_over),
            grouping(self.config, grouped),
        ):
            logits, hidden = self.through(arguments, logits_to_keep)
        after = None
        if keep_state and buffers is not None:
            after = self.after(buffers, given, mask, state, where, explicit=positions is not None)
        return LMOutput(logits, hidden, after)

    def needed(self, mask: Tensor | None) -> Tensor | None:
        """The mask, or None where it marks no padding. Raises NotOffered for padding that the model does not honour."""
        if mask is None or mask.ndim == 4:
            return mask
        if mask.all():
            return None
        if "padding" in self.refused:
            raise NotOffered(f"this model cannot take padded rows, run them one by one: {self.refused['padding']}")
        return mask

    def through(self, arguments: dict[str, Any], logits_to_keep: int) -> tuple[Tensor, Tensor]:
        """The model itself: logits, and what entered the head."""
        if self.split:
            hidden = self.parts.base(**arguments)[0]
            hidden = hidden[:, -logits_to_keep:] if logits_to_keep else hidden
            return self.parts.logits(self.parts.head(hidden)), hidden
        kept: list[Tensor] = []
        hook = self.parts.head.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
        try:
            if self.keeps_logits:
                arguments["logits_to_keep"] = logits_to_keep
            logits = self.inner(**arguments).logits
        finally:
            hook.remove()
        hidden = kept[-1]
        if logits_to_keep and not self.keeps_logits:
            logits, hidden = logits[:, -logits_to_keep:], hidden[:, -logits_to_keep:]
        return self.parts.logits(logits), hidden

    def positions(
        self, given: Tensor, mask: Tensor | None, segments: Tensor | None, state: KeyValueState | None
    ) -> Tensor:
        """(1 or batch, time): each row counts its own tokens; documents packed into one row begin at 0 again."""
        if segments is not None:
            return positions_within(segments)
        start: int | Tensor = 0
        if state is not None:
            counted = state.visible is None and state.positions is None
            start = state.slots if counted else state.next_position.to(given.device)[:, None]
        if mask is None or mask.ndim == 4:
            return torch.arange(given.shape[1], device=given.device)[None] + start
        return (mask.cumsum(1) - 1).clamp(min=0) + start

    def groups(self, slots: int) -> bool:
        """Whether queries that share a key are laid behind each other in a masked pass over so many earlier columns."""
        return slots > 0 and self.shares_keys and self.config._attn_implementation == "sdpa"

    def arguments(
        self,
        given: Tensor,
        mask: Tensor | None,
        segments: Tensor | None,
        state: KeyValueState | None,
        where: Tensor,
        *,
        explicit: bool = False,
    ) -> dict[str, Any]:
        """Positions and attention mask as the model takes them. The mask is None where plain causal attention is right,
        4-D elsewhere, and one of each per type of layer where the types differ."""
        time = given.shape[1]
        slots, seen = (0, None) if state is None else (state.slots, state.visible)
        total = slots + time
        arguments: dict[str, Any] = {"attention_mask": None, "use_cache": False}
        if self.takes_positions:
            arguments["position_ids"] = where + self.first_position
        implementation = self.config._attn_implementation
        numeric = implementation == "eager" or self.groups(slots)
        usual = not explicit and (state is None or state.positions is None or not self.windows)
        plain = mask is None and segments is None and seen is None and usual and (slots == 0 or time == 1)
        if plain and implementation == "sdpa" and all(w is None or total <= w for w in self.windows.values()):
            arguments["attention_mask"] = dict.fromkeys(self.windows) if len(self.windows) > 1 else None
            return arguments
        visible = allowed(time, slots, mask=mask, seen=seen, segments=segments, device=given.device)
        masks: dict[str, Tensor] = {}
        for kind, window in (self.windows or {"": None}).items():
            part = visible
            if window is not None and not (usual and total <= window):
                keys = where if state is None or not slots else torch.cat([state.at(), where.expand(len(given), -1)], 1)
                part = visible & within(window, where, keys)
            masks[kind] = additive(part, self.dtype) if numeric else part
        arguments["attention_mask"] = masks if len(masks) > 1 else next(iter(masks.values()))
        return arguments

    def after(
        self,
        buffers: Buffers,
        given: Tensor,
        mask: Tensor | None,
        state: KeyValueState | None,
        where: Tensor,
        *,
        explicit: bool,
    ) -> KeyValueState:
        """The state behind a pass."""
        batch, time = given.shape[:2]
        slots, seen = (0, None) if state is None else (state.slots, state.visible)
        real = mask if mask is not None and mask.ndim == 2 else None
        visible = None
        if seen is not None or real is not None:
            ones = torch.ones(batch, max(slots, time), dtype=torch.bool, device=given.device)
            visible = torch.cat(
                [ones[:, :slots] if seen is None else seen, ones[:, :time] if real is None else real], 1
            )
        at = None
        if (state is not None and state.positions is not None) or (self.windows and explicit):
            at = where.expand(batch, -1)
            at = at if state is None or not slots else torch.cat([state.at(), at], 1)
        return KeyValueState(buffers, batch, slots + time, visible, at)

    # --- a range of layers ----------------------------------------------------------------------------------------

    def layers(
        self, start: int, stop: int, hidden: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        if "layers" in self.refused:
            raise NotOffered(f"this model cannot run a range of its layers: {self.refused['layers']}")
        if not 0 <= start <= stop <= self.depth:
            raise ValueError(f"layers {start} to {stop} are no range of the {self.depth} layers of this model")
        check_shapes(hidden, mask, positions, None, None)
        if start == stop:
            return hidden
        self.rows = hidden.shape[0]
        mask = self.needed(mask)
        where = self.positions(hidden, mask, None, None) if positions is None else positions
        arguments = self.arguments(hidden, mask, None, None, where, explicit=positions is not None)
        arguments["inputs_embeds"] = hidden.new_zeros(*hidden.shape[:2], self.width)
        passed_over = [self.parts.blocks[layer] for layer in self.skipped if start <= layer < stop]
        with self._only(start, stop, hidden) as reached, bypassed(passed_over):
            self.parts.base(**arguments)
        return reached[0]

    def run_layers(
        self,
        start: int,
        stop: int,
        *,
        ids: Tensor | None,
        hidden: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        kept: Tensor | None,
        state: State | None,
        storing: bool,
    ) -> tuple[Tensor, State]:
        given = ids if ids is not None else hidden
        assert given is not None
        batch, time = given.shape[:2]
        skipped = self.skipped & set(range(start, stop))
        part = Stretch.of(state, set(range(start, stop)) - skipped, self.depth, time)
        before, mask = part.before, part.mask(mask)
        check_shapes(given, mask, positions, None, before)
        part.check_kept(kept, batch, time)
        self.rows = batch
        mask = self.needed(mask)
        where = self.positions(given, mask, None, before) if positions is None else positions
        arguments = self.arguments(given, mask, None, before, where, explicit=positions is not None)
        arguments |= {"past_key_values": Writer(part.buffers, part.slots, storing=storing), "use_cache": True}
        if ids is None:
            arguments["inputs_embeds"] = given.new_zeros(batch, time, self.width)
        elif self.watched:
            arguments["inputs_embeds"] = self.parts.embed_tap(self.embed(ids))
        else:
            arguments["input_ids"] = ids
        passed_over = [self.parts.blocks[layer] for layer in skipped]
        leaving = [self.parts.blocks[layer] for layer in range(start, stop) if storing and layer not in skipped]
        grouped = self.groups(part.slots) and arguments["attention_mask"] is not None
        with (
            self.products.over(batch * time),
            grouping(self.config, grouped),
            self._only(start, stop, hidden) as reached,
            bypassed(passed_over),
            left_early(leaving),
        ):
            self.parts.base(**arguments)
        if (whole := part.whole) is not None:
            return reached[0], KeyValueState(part.buffers, batch, whole.slots, whole.visible, whole.positions)
        real = mask if kept is None else kept
        after = self.after(part.buffers, given, real, before, where, explicit=positions is not None)
        return reached[0], after if kept is None else after.cut(after.seen())

    def read_out(self, hidden: Tensor) -> Tensor:
        if "layers" in self.refused:
            raise NotOffered(f"this model cannot read out the middle of its layers: {self.refused['layers']}")
        if not self.split or self.parts.norm is None:
            raise NotOffered("this model's logits are more than its final norm and head applied to its last layer")
        return self.parts.head(self.parts.norm(hidden))

    @contextmanager
    def _only(self, start: int, stop: int, hidden: Tensor | None) -> Iterator[list[Tensor]]:
        """Within the block the blocks outside the range pass on what they are given, and the first inside it reads
        ``hidden`` where there is one; what the last one gives is stored. So the model's own code prepares masks and
        positions."""
        reached: list[Tensor] = []

        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return (hidden, *args[1:]) if hidden is not None else args, kwargs

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            reached.append(output if isinstance(output, Tensor) else output[0])

        blocks = list(self.parts.blocks)
        hooks = [
            blocks[start].register_forward_pre_hook(enter, with_kwargs=True, prepend=True),
            blocks[stop - 1].register_forward_hook(leave),
        ]
        skipped = blocks[:start] + blocks[stop:]
        try:
            with bypassed(skipped):
                yield reached
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def bypassed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block these modules give back the hidden states that they are given."""
    for block in blocks:
        block.forward = lambda hidden, *args, **kwargs: hidden
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


@contextmanager
def left_early(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Within the block these modules give back the hidden states that they are given, once their keys are stored."""

    def leaving(block: nn.Module) -> Callable[..., Tensor]:
        whole = block.forward

        def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            with suppress(Stored):
                whole(hidden, *args, **kwargs)
            return hidden

        return forward

    for block in blocks:
        block.forward = leaving(block)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def check_shapes(
    given: Tensor, mask: Tensor | None, positions: Tensor | None, segments: Tensor | None, state: State | None
) -> None:
    """Raise ValueError, naming the argument and the shape it must have."""
    batch, time = given.shape[:2]
    slots = 0 if state is None else state.slots
    if state is not None and state.batch != batch:
        raise ValueError(f"the input has {batch} rows and the state {state.batch}; state.select repeats or picks rows")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"a mask is bool, True where a token is real or may be seen; got {mask.dtype}")
        if mask.ndim not in (2, 4):
            raise ValueError(
                f"a mask has 2 axes (batch, time) or 4 (batch, 1, time, slots + time), got {tuple(mask.shape)}"
            )
        if mask.ndim == 2 and mask.shape != (batch, time):
            raise ValueError(f"the mask must be ({batch}, {time}) like the input, got {tuple(mask.shape)}")
        if mask.ndim == 4 and (mask.shape[0] not in (1, batch) or mask.shape[1:] != (1, time, slots + time)):
            raise ValueError(
                f"the mask must be ({batch}, 1, {time}, {slots + time}), the columns of the state before the new ones; "
                f"got {tuple(mask.shape)}"
            )
    if positions is not None and positions.shape not in ((batch, time), (1, time)):
        raise ValueError(f"positions must be ({batch}, {time}) like the input, got {tuple(positions.shape)}")
    if segments is not None:
        if state is not None:
            raise ValueError("segments are for whole training rows; they cannot go on from a state")
        if segments.shape != (batch, time):
            raise ValueError(f"segments must be ({batch}, {time}) like the input, got {tuple(segments.shape)}")
        if mask is not None and mask.ndim == 4:
            raise ValueError("a 4-D mask already says who sees whom; give either it or segments")


def _rows(module: nn.Module) -> Tensor:
    """The matrix of an embedding or a head, (vocab, width); made of its factors where it has such."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise NotOffered(f"{type(module).__name__} holds no matrix with a row for each token")
    return weight
