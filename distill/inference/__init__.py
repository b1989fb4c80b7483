"""Depth for an image by whatever means: a model by its name, saved predictions, the ghost; on any number of processes."""
