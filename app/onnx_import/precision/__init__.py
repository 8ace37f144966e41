"""Precision: a float32 graph becomes one in int8 or half precision, with the same contract.

Both ways to a model use it: the export of published and trained weights, with ranges from the repository, and
``cutout models add``, which calibrates on the user's pictures.

=================  ===================================================================
``canonical``      brings the graph of any exporter into the form that the others rewrite
``calibrate``      finds the range of every tensor on pictures
``quantise``       makes an int8 graph; ``graph_layers`` finds the layers, ``int8_*`` write the nodes
``float16``        makes an fp16 graph
``search``         tries ways to quantise until one is close enough
``judge``          measures the distance to the float32 graph, and refuses what is too far
=================  ===================================================================
"""
