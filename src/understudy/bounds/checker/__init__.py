"""Independent programs that check certificates: numpy and the standard library, nothing of the engine.

`verify` (with `network`) computes in float64 and widens every step by its rounding error; `exact` (with
`rational`) in rational numbers. What they do, and why it is sound, is written in docs/certificate-format.md.
"""
