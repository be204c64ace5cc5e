"""The convolution in C++: one form, linear in each of x, y, w and the cotangent o, and its derivatives.

``T(x, y, w, o) = Σ_e Σ_path Σ_uijk C_ijk x[src,u,i] y[e,j] w[e,path,u] o[dst,u,k]``. Forward is ∂T/∂o, the gradients
are ∂T/∂x, ∂T/∂y and ∂T/∂w, and every higher derivative is made of these again. No features of edges are ever stored.
"""
