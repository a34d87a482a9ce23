"""Asking a trained model of image and text for findings that are named when it is asked."""
