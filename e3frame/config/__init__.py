"""The whole run as one torch-free model: what may be written, and whether it fits together.

``run`` is the root; each other file is a group of its keys, or a rule about them.
"""
