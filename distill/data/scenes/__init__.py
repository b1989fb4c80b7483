"""Procedural streets and rooms with exact depth, rendered on the CPU: no file is needed."""
