"""Feasible updates on the digits and on a part of CIFAR-10."""
