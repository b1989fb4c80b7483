"""Depth for an image by any means: a model by its name, saved predictions, the ghost; on several processes."""
