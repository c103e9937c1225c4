"""Diagnosis of a failure: which stage diverges first, and which known deviation computes exactly what the candidate does.

``questions`` are put to the candidate and, with the same weights and images, to the reference with this or that thing
wrong; ``place`` finds the first stage that diverges; ``search`` keeps the deviations that give every answer the candidate
gave; ``diagnose`` puts both together within a time budget, and ``record`` is what is told of it.
"""
