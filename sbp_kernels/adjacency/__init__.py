"""The adjacencies: sparse (`CSR`) and implicit (`ClassBlock`, `Similarity`)."""
