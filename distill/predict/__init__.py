"""`distill predict`: depth of images, folders, videos and cameras as files and pictures."""

from distill.predict.command import predict_command

__all__ = ["predict_command"]
