"""Which cases show a fault of which kind."""

DECODING = ("decoding", "second-prompt", "chunked-prefill")
IMAGES = ("single-image", "two-images", "left-padded-batch", "photograph", "marked-mask", *DECODING)
VISUAL = (*IMAGES, "odd-video")
EVERY = (*VISUAL, "text-only", "long-text")
