"""NormNet: what a network that knows healthy lungs does not recognise is a lesion."""
