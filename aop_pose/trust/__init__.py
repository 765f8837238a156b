"""Trust in a number: the gate that withholds it, the calibration that gives its interval."""
