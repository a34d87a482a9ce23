"""FairAdaBN: batch normalisation of its own for each group."""
