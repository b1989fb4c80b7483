"""Depth networks of Hugging Face's `transformers` as depth models, each cut in two where the student's maps belong."""
