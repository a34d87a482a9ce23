"""ARNet: attributes of an image are erased, and a network that knows normal images restores them."""
