"""MICA: images aligned with concepts on several levels, and a diagnosis that sees concepts alone."""
