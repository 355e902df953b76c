"""Context to token tree: what a speculative decoder is given to verify."""
