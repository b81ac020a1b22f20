"""How well binary trees that were found without labels agree with gold trees, by the protocols of the literature."""
