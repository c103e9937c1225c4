"""From results to a report: ``model`` derives everything that is shown, ``render`` puts it into templates.

Nothing here needs torch, and no HTML is made in Python.
"""
