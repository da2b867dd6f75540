"""Which cases show a fault of which kind."""

IMAGES = ("single-image", "two-images", "left-padded-batch", "photograph", "decoding")
VISUAL = (*IMAGES, "odd-video")
EVERY = (*VISUAL, "text-only", "long-text")
