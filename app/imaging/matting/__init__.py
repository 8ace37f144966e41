"""Matting: turns a saliency map into an alpha matte and foreground colours."""
