"""Statistics of evaluation results: plain functions over numbers, usable without a model, with NumPy and SciPy only."""
