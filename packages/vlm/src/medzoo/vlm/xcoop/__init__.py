"""XCoOp: prompts that are learnt and stay near clinical words."""
