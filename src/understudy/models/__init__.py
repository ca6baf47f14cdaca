"""Models: the papers' small networks, opening other people's models, and taps by layer name.

Nothing is imported here: name the module you need, e.g. `from understudy.models.zoo import build`.
"""
