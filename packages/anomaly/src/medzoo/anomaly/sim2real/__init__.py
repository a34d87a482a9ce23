"""Sim2Real: a volume is taken apart into a normal layer, a tumour layer and a mask, learnt on simulated tumours."""
