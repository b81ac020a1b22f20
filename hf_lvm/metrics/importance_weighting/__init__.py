"""log p(x) from importance weights, and how it converges with their number."""
