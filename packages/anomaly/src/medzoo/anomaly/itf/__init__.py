"""ITF: a code that keeps what it can of normal images and varies as little as it can."""
