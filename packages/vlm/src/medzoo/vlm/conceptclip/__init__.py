"""ConceptCLIP: image and text aligned as wholes, and patches with the concepts that a caption names."""
