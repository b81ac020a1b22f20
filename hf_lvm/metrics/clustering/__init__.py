"""How well discrete latents agree with gold classes, and how much of them is used."""
