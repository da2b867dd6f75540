"""parity: proves a MindSpore port against its PyTorch reference, layer by layer."""
