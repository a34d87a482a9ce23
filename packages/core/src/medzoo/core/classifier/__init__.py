"""Classification of images with any network of timm, of exclusive classes or of several labels."""
