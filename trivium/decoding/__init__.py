"""Model and prompt to generation: how the next tokens are chosen."""
