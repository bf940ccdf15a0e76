# SPDX-License-Identifier: GPL-2.0-only
"""Litmus tests of a design: run under a memory model, and bound to the kernel that was built.

What the words mean and which statements are not made: docs/prove.md.
"""
