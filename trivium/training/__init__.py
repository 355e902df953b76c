"""The one training loop: budget in, checkpoints and a curve out; one process or torchrun."""
