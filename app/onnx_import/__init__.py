"""ONNX import: makes a third party's ONNX file into a served model, for the command line only."""
