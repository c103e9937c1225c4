"""ONNX files as candidates: read with suspicion, understood by structure and behaviour, run by ONNX Runtime."""
