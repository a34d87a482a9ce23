"""Data of signals of several leads: electrocardiograms and other records."""
