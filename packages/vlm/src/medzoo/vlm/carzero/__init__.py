"""CARZero: zero-shot classification of radiographs by cross-attention between image and text."""
