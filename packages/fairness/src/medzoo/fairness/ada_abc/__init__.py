"""Ada-ABC: a council that learns the shortcut, and a network that agrees with it where it is right."""
