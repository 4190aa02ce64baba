"""Optimiser steps: lists of arrays, updated in place."""

import numpy as np


def sgd_step(w, dw, velocity, *, lr, momentum, dampening, weight_decay, nesterov):
    """Move each w down its gradient; velocity lists the running sums, None without momentum.

    PyTorch's form of momentum, v = momentum * v + (1 - dampening) * dw; Nesterov's as in Sutskever
    et al., "On the importance of initialization and momentum in deep learning", 2013.
    """
    for i in range(len(w)):
        step = dw[i] + weight_decay * w[i] if weight_decay else dw[i]
        if velocity is not None:
            velocity[i] *= momentum
            velocity[i] += (1 - dampening) * step
            step = step + momentum * velocity[i] if nesterov else velocity[i]
        w[i] -= lr * step


def adam_step(w, dw, m, v, *, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Move each w by the ratio of the running mean m and the root of the running mean square v.

    Kingma & Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1; `step` counts from
    1. Decoupled decay is AdamW: Loshchilov & Hutter, 2019, algorithm 2.
    """
    for i in range(len(w)):
        grad = dw[i]
        if weight_decay and decoupled:
            w[i] *= 1 - lr * weight_decay
        elif weight_decay:
            grad = grad + weight_decay * w[i]
        m[i] += (1 - beta1) * (grad - m[i])
        v[i] += (1 - beta2) * (grad * grad - v[i])
        root = np.sqrt(v[i] / (1 - beta2**step)) + eps
        w[i] -= lr / (1 - beta1**step) * m[i] / root
