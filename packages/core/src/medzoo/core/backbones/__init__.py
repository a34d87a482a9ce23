"""Networks that methods build on, and how weights come into them."""
