"""How good shorter sentences are, never without what the same number of words costs nothing to get."""
