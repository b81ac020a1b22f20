"""How coherent the topics of a topic model are, and how different from one another."""
