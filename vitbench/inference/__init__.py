"""Adapters for ordinary torch classes and factories: matched, aligned, settled by behaviour, and written as code.

    constructor  its arguments, matched to ViTConfig
    anatomy      its tensors, and where its blocks are
    alignment    which tensor is which canonical parameter
    settling     what only its behaviour tells: layouts and conventions
    taps         which modules show which stage
    writing      the adapter, as a person would write it
    apart        all of that in a process of its own, with limits

What was inferred is code: the same file is judged that ``vitbench adapt`` hands out, so both have one verdict.
"""
