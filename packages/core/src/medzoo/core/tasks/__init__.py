"""A task is one room: what its samples hold, what a model gives, how that is judged, and what is written down."""
