"""Prompted segmenters behind one interface: a picture and strokes in, a probability per pixel out."""
