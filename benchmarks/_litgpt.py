"""litgpt's side of the training benchmark, run by the Python of an environment in which litgpt is installed.

It wants versions of other packages than this library does, so it cannot stand in the same environment. It reads what to
train from its argument and, for each line that comes in, trains once more and says how. Each update is made as litgpt's
own pretraining loop makes it: Fabric, the loss in chunks, clipping by Fabric.
"""

import json
import sys
from typing import Any


def main(said: dict[str, Any]) -> None:
    import lightning  # type: ignore[import-not-found]
    import torch
    from litgpt.config import Config  # type: ignore[import-not-found]
    from litgpt.model import GPT  # type: ignore[import-not-found]
    from litgpt.utils import chunked_cross_entropy  # type: ignore[import-not-found]

    torch.set_num_threads(said["threads"])
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="32-true")
    torch.manual_seed(0)
    config = Config(
        block_size=said["time"],
        n_layer=said["depth"],
        n_embd=said["width"],
        n_head=said["heads"],
        vocab_size=said["vocab"],
        padded_vocab_size=said["vocab"],
        intermediate_size=said["hidden"],
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        parallel_residual=False,
        bias=False,
        rotary_percentage=1.0,
    )

    def prepared() -> Any:
        model = GPT(config)
        model.lm_head.weight = model.transformer.wte.weight
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=said["rate"], betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        return fabric.setup(model, optimizer)

    ready = [prepared() for _ in range(said["runs"])]
    starts = torch.tensor(said["starts"])
    rows = (starts[:, None] + torch.arange(said["time"])) % said["vocab"]
    batches = rows.split(said["rows"])
    print(json.dumps({"parameters": sum(p.numel() for p in ready[0][0].parameters())}), flush=True)
    for _ in sys.stdin:
        model, optimizer = ready.pop()
        total = 0.0
        for ids in batches:
            logits = model(ids[:, :-1].contiguous())
            loss = chunked_cross_entropy(logits, ids[:, 1:].contiguous())
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=1.0)
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        print(json.dumps({"loss": total / len(batches)}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
