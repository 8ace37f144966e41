"""Web: the only home of the HTTP framework beside ``app/main.py``."""
