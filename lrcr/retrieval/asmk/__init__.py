"""ASMK: visual words, aggregated residuals and the inverted file (Tolias et al., ICCV 2013)."""
