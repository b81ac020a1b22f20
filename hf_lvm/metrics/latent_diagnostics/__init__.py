"""Active units, mutual information and KL from posterior means and standard deviations."""
