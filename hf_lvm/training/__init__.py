"""Arguments, the trainer, callbacks and the `main` of each recipe."""
