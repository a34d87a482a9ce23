"""ESAD: an autoencoder and a second encoder, trained on normal images and a few labelled abnormal ones."""
