"""SCP: which images to label for landmark detection by matching."""
