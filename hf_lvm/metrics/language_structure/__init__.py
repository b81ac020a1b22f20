"""How a learned language is built: whether parts of its messages stand for parts of what they mean."""
