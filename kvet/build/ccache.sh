#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Stands before ccache in a build's PATH. Where a first build may go by what the compiler says it
# read (kvet/build/depend.py), ccache need not run the preprocessor as well. It then would not see
# that the assembler reads a file; so a source that says so, and one in assembler, go the long way.
for source in "$@"; do :; done	# kbuild names it last
case $source in
*.c)
	if [ -n "$KVET_DEPEND" ] && ! grep -qi incbin "$source"; then
		export CCACHE_DEPEND=1
	fi
	;;
esac
exec /usr/bin/ccache "$@"
