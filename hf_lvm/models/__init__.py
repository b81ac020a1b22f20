"""One folder per model; two models never import each other."""
