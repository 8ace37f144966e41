"""Models: loads verified networks and runs them in ONNX Runtime."""
