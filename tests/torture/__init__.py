# SPDX-License-Identifier: GPL-2.0-only
"""`make torture`: everything that may go wrong on a host, done on purpose to real runs."""
