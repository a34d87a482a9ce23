"""Classifiers that were trained against attacks: the usual defences beside which others stand."""
