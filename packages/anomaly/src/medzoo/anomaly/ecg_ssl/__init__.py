"""SSL-AD: restores what a printed electrocardiogram shows, and reads from it whose it is."""
