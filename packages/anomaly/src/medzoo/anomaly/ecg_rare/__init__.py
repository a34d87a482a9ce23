"""Demographic-aware pre-training for rare cardiac diagnoses, judged by age and sex."""
