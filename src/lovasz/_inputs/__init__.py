"""What callers may pass: options, layouts of pixels, labels, and every message about them."""
