"""What methods share that restore a record and its beats from what is left of them: network, losses, scores."""
