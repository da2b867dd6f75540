"""One file a framework: each imports only its own, and is loaded by name when needed."""
