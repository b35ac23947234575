"""The certificate: every setting of the objective against an independent float64 oracle, and mutants it must catch."""

from amid.certificate.run import Certificate, certify, render

__all__ = ["Certificate", "certify", "render"]
