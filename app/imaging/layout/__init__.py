"""Layout: places a cutout on its canvas, over its background."""
