"""Cutout: photographs in, saliency masks and alpha-matted cutouts out."""

__version__ = "0.1.0"
