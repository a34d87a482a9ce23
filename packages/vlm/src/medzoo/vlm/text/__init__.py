"""Text of reports: word pieces, a BERT, prompts, and a rewriter of reports by rules."""
