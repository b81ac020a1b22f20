"""What a trained model knows: its corpus encoded, its likelihood, its maps, its interpolations."""
