"""Recipes: one TOML file a network; ``model_export/recipe.py`` says what may stand in them."""

from pathlib import Path

RECIPES = Path(__file__).parent
