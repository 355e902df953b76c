"""The one training loop: budget in, checkpoints and a curve out; one process or torchrun.

    from trivium.objectives.causal import Causal
    from trivium.training.loop import train
    from trivium.training.settings import TrainingSettings

    result = train(model, Causal(), batches, TrainingSettings(steps=400), folder="runs/first")

The same call goes on where a killed run stopped, and ``python -m torch.distributed.run --nproc-per-node 2 script.py``
spreads the model over processes with FSDP2.
"""
