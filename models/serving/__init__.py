"""The served graph: calibration, export to ONNX, scoring."""
