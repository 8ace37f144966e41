"""Model export: published or trained weights become the served ONNX model and its manifest.

The journey of one model, in the order of the files:

======================  ==============================================================
``weights``             the verified published file becomes 119 ordered kernel–bias pairs
``architectures``       the networks, written from their papers
``port``                the pairs move into the network, in the order its layers execute
``served``              the network is wrapped into the contract: uint8 pictures in, saliency out
``export``              the wrapped network becomes ``model.onnx`` and ``manifest.json``,
                        made small by ``simplify`` and described by ``card``
``parity``              published, ported and served are compared, on ``pictures``, in float64
                        by ``exact``
======================  ==============================================================

Of training one:

======================  ==============================================================
``recipe``              a TOML file says how
``datasets``            a folder becomes arrays, decoded once, and splits
``transforms``          batches are flipped, moved, bent and recoloured
``losses``              logits and masks become one number, a function a paper
``finetune``            the published network becomes one that can go on learning
``train``               all of these become weights; ``curves`` draws how
``checkpoint``          a run is kept, and goes on
``trained``             a checkpoint becomes a model to serve
``series``              many recipes become many runs, on a borrowed GPU
``cost``                a network becomes its parameters and multiplications
======================  ==============================================================

And of judging one:

======================  ==============================================================
``samples``             a folder becomes pictures with their true masks or mattes
``answers``             the service answers them, as it would a client
``judge_saliency``,     answers and truths become the figures of the papers, by
``judge_matting``       ``metrics`` and ``matting_metrics``
``evaluate``            the figures become a table, and by ``report`` a page
======================  ==============================================================

This room is the only home of torch. Of the service it knows ``app.weights``,
``app.engine.models.manifest`` and ``app.errors``, and ``answers`` alone runs it (``docs/adr/0009``); the
service knows nothing of it.
"""
