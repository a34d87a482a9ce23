"""Chest radiographs with drawn findings, and reports on them."""
