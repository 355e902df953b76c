"""Recipe to model: what a language model is built of, on the one block skeleton."""
