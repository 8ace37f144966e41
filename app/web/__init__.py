"""Web: the HTTP layer; only this package and ``app/main.py`` import the web framework."""
