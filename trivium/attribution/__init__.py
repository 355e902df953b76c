"""Model, ids and target to a score per input token: what a prediction rests on."""
