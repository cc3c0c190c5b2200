"""The Triton backend: portable GPU kernels for NVIDIA and AMD. `ops` has its functions, the other files its kernels.

The functions are not re-exported here, because a kernel file bears the name of its function: Python sets an imported
submodule as an attribute of its package, which would hide the function of that name.
"""
