"""The one block skeleton, the one Hugging Face adapter, state, sites, sources, loading, saving and export."""
