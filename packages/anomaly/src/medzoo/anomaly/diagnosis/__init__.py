"""What methods share that learn normal records first and to diagnose abnormal ones then: network, stages, answers."""
