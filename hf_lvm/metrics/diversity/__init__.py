"""How different the sentences of a sample are from one another."""
