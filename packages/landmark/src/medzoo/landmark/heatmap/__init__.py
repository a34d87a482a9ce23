"""Supervised heat-map regression: a U-Net or any encoder of timm under one decoder."""
