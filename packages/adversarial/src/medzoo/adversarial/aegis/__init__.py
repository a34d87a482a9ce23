"""Medical Aegis (Yao 2021): a low-pass in front of a classifier, and heads that doubt its answers; a reconstruction."""
