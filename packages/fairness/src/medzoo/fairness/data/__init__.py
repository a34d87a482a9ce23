"""Data modules with sensitive groups, and splits of a chosen bias."""
