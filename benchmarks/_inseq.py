"""Inseq's side of the attribution benchmark, run by the Python of an environment in which Inseq is installed.

It may want versions of other packages than this library does, so it stands in an environment of its own. It reads what
to explain from its argument and, for each method that a line asks for, explains once and says with which scores.
"""

import json
import logging
import sys
from typing import Any


def main(said: dict[str, Any]) -> None:
    import inseq  # type: ignore[import-not-found]
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(said["threads"])
    made: dict[tuple[str, str], Any] = {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["method"]
        if name not in made:
            made[name] = inseq.load_model(
                said["folder"], name, device="cpu", model_kwargs={"torch_dtype": torch.float32}
            )
        found = made[name].attribute(
            said["prompt"],
            said["prompt"] + said["answer"],
            attr_pos_start=said["time"],
            attributed_fn=said["objective"],
            show_progress=False,
            **asked["settings"],
        )
        scores = found.sequence_attributions[0].target_attributions[: said["time"], -1]
        if scores.ndim > 1:
            scores = scores.norm(dim=-1) if name == "saliency" else scores.sum(-1)
        print(json.dumps({"scores": scores.tolist()}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
