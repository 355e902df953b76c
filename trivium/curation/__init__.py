"""Documents to documents: what is known of each, and which stay, by rules apart from the measuring."""
