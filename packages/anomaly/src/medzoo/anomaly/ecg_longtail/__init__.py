"""Anomaly pre-training for diagnoses of which most are rare."""
