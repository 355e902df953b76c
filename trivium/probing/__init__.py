"""Activations and labels to a probe: what can be read off the states of a frozen model."""
