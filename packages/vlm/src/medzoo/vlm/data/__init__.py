"""Images with reports: what all layouts share, and the layouts."""
