"""Depth in metres from an ONNX file that ends at the logits: scores (B, N, h, w) and centres (B, N), in metres.

The file was written by distill export; this needs NumPy and nothing else.
"""

import numpy as np


def depth_of(scores: np.ndarray, centres: np.ndarray, height: int, width: int) -> np.ndarray:
    """Depth (B, 1, height, width), four times as fine as the scores; the rest of their padding is cut off."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    depth = (shares * centres[:, :, None, None]).sum(axis=1) / shares.sum(axis=1)
    places = [np.clip((np.arange(4 * n) + 0.5) / 4 - 0.5, 0, n - 1)[:, None] - np.arange(n) for n in depth.shape[1:]]
    down, across = (np.maximum(0, 1 - abs(place)).astype(depth.dtype) for place in places)  # bilinear, as products
    return (down @ depth @ across.T)[:, None, :height, :width]
