"""From three landmarks to regions: strokes, prompted segmenters, boxes.

Strokes follow section 3.2 of Li et al., "Progressive Semi-supervised Landmark Detection Algorithm for Intrapartum
Ultrasound Measurement": lines that the landmarks say lie inside the symphysis (PS), inside the head (FH) or outside.
"""
