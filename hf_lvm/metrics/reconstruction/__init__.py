"""How much of a sentence its reconstruction keeps."""
