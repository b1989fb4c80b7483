"""Data sets that models are evaluated on without training on them, as they are downloaded."""
