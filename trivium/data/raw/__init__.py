"""Raw text: files as they come, with everything that may be wrong with them, to documents that are whole."""
