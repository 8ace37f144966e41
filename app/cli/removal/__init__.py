"""Removal: the parts of ``cutout remove``.

    arguments ──sources──▶ pictures ──targets──▶ items ──runner──▶ outcomes ──▶ progress, report

``local.py`` and ``remote.py`` process a picture, in this process or by a server; ``watch.py`` finds new ones.
"""
