"""Model and batch to loss: what a model is trained for."""
