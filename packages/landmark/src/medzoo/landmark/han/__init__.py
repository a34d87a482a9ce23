"""HAN (HYATT-Net): hybrid attention network for landmark detection at high resolution."""
