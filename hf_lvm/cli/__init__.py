"""The hf-lvm command line: train, evaluate, sample, interpolate, demo."""
