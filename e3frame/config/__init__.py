"""Torch-free specs of a whole training run, and the checks that its parts fit together.

``run`` is the root; each other file is a group of its keys, or a rule about them.
"""
