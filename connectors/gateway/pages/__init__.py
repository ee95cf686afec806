"""Pages for people: how they look, what they say in each language, and how they are sent."""
