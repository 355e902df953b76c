"""Corpora that are made or read from where they lie, splits, packing and batches."""
