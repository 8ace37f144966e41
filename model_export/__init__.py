"""Model export: published or trained weights become the served ONNX model and its manifest.

Exporting a model, in the order of the steps:

======================  ==============================================================
``weights``             reads the verified published file as 119 ordered kernel–bias pairs
``architectures``       the networks, written from their papers
``port``                copies the pairs into a network, in the order its layers execute
``serving_graph``       wraps the network in the serving contract: uint8 pictures in, saliency out
``export``              writes ``model.onnx``, reduced by ``simplify``, ``manifest.json`` and the
                        model card of ``card``
``parity``              compares published, ported and served networks on ``pictures``, in float64
                        with ``float64_reference``
======================  ==============================================================

Other precisions of an exported model (``docs/precision.md``):

======================  ==============================================================
``calibrate``           finds the ranges of a graph's tensors on pictures; ``ranges`` keeps
                        them as JSON, with the figures of the graphs made from them
``variants``            makes an int8 graph, with the layers of ``islands`` in float32, or an fp16
                        graph, by ``app.onnx_import.precision``; refuses one that is too far from
                        float32, or was not judged
``judge_precision``     measures the distance to the float32 graph, on ``network_inputs``
``sensitivity``         measures what each stage costs; ``precision_cli`` has the commands
======================  ==============================================================

Training a model:

======================  ==============================================================
``recipe``              reads the TOML file that describes a training run
``datasets``            decodes a folder once into arrays: ``samples`` finds its files, ``masks`` and
                        ``annotations`` read their truth, ``splits`` divides them
``preflight``           compares recipe and data before anything is decoded
``teach``               writes a model's soft maps next to pictures, as targets
``batches``             yields augmented batches, by ``transforms`` and ``degradations``
``losses``              one loss function per paper; ``class_losses`` has those of several classes
``finetune``            prepares the published network for further training
``train``               a training run: config, data, model, loop; ``curves`` plots its progress,
                        ``progress_display`` and ``tensorboard_events`` show it
``trainer``             the network in training, its average, optimizer and progress
``schedule``            how far a run is, and the learning rate and picture size that follow
``checkpoint``          saves and restores a training run
``export_checkpoint``   exports a checkpoint as a model to serve
``sweep``               trains several recipes in parallel, on a rented GPU
``cost``                counts the parameters and multiplications of a network
======================  ==============================================================

Evaluating a model:

======================  ==============================================================
``samples``             finds pictures with their true masks or mattes in a folder
``predictions``         runs the service's pipeline on them, as for a client
``judge_saliency``,     compute the figures of the papers, with ``metrics`` and
``judge_matting``       ``matting_metrics``
``evaluate``            prints a table of the figures; ``report`` writes a page
======================  ==============================================================

This is the only package that imports torch. From the service it imports ``app.weights``, ``app.options``,
``app.engine.models``, ``app.errors`` and ``app.onnx_import``; only ``predictions`` runs the
service (``docs/adr/0009``). The service does not import this package.
"""
