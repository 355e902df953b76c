"""Vocabulary initialisers: system x tokenizer -> system."""
