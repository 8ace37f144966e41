"""Recipes: one TOML file per network; ``model_export/recipe.py`` defines their fields."""

from pathlib import Path

RECIPES = Path(__file__).parent
