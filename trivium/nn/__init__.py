"""Plain layers and tensor functions; each fast path stands beside its slow reference."""
