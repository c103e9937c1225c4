"""Calibration: whether the checks can tell, as a matrix of candidates that are known to be wrong or right.

``specimens`` are the candidates, ``plan`` says what is run, ``workers`` run it in processes of their own, ``matrix``
holds what came out and says what is wrong with it, ``document`` writes it for people.
"""
