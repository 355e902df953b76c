"""Byte, BPE and Hugging Face tokenizers under one small protocol."""
