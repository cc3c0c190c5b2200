"""The dense float64 oracle: the value of a call, its derivatives, and how far a correct result may be from them."""
